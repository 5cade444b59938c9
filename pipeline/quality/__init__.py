"""Quality components and advice, and which faces are scored."""
