"""What delivery costs: this gate, and others that carry the same shots."""
