"""Recognition: embedders, gallery and enrollment, matching, publishers, worker."""

if __name__ != "facegate.recognition":
    raise ImportError(f"import facegate.recognition, not {__name__}")
