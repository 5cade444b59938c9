"""Face image quality from one forward pass of a Vision Transformer."""
