"""Training of facegate's face ViT by distillation."""

if __name__ != "facegate.training":
    raise ImportError(f"import facegate.training, not {__name__}")
