"""Assembly of a run, its threads, its cameras, and reloading the configuration."""
