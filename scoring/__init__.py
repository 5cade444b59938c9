"""Face image quality from one forward pass of a Vision Transformer."""

if __name__ != "facegate.scoring":
    raise ImportError(f"import facegate.scoring, not {__name__}")
