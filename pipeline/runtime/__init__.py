"""What a run is made of, its threads, its cameras, and going over to another configuration."""
