"""Ways to measure how good a face is, from chance to oracle."""
