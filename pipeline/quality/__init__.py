"""What a quality score consists of, how to explain it, and which faces are worth scoring."""
