"""Face detectors behind one protocol, and face alignment."""

if __name__ != "facegate.detectors":
    raise ImportError(f"import facegate.detectors, not {__name__}")
