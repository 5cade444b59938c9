"""Quality methods, from chance to the scorer."""
