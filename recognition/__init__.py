"""The recognition side: embedders, galleries, matching and the worker."""
