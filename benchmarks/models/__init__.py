"""What models and recognizers are worth, side by side."""
