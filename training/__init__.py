"""Start weights for facegate's own face ViT."""

if __name__ != "facegate.training":
    raise ImportError(f"import facegate.training, not {__name__}")
