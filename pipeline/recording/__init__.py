"""What a gate saw, in a file, and deciding it again."""
