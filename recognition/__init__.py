"""The recognition side: embedders, galleries, matching and the worker."""

if __name__ != "facegate.recognition":
    raise ImportError(f"import facegate.recognition, not {__name__}")
