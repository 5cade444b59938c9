"""Self-test of recognizers: a dozen generated faces show whether a network gets the input that it expects."""
