"""What joins cameras and stages: bounded channels, fair batches, who goes first under load, shared cores."""
