"""People of the console: enrollment and unknown visitors."""
