"""The one Vision Transformer for every supported family, and its one pass for quality and embedding."""
