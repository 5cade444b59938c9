"""One file a verb; what takes long to load is imported inside."""
