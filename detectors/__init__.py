"""Face detectors behind one protocol, and the alignment that every path uses."""

if __name__ != "facegate.detectors":
    raise ImportError(f"import facegate.detectors, not {__name__}")
