"""Start weights for facegate's own face ViT."""
