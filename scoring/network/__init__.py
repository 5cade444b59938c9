"""The Vision Transformer of all supported families, with one pass for quality and embedding."""
