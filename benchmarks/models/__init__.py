"""Quality models and recognizers, compared with each other."""
