"""Gate and worker processes of the console, and their configuration file."""
