"""What a quality score consists of, what would improve it, and which faces to score first under load."""
