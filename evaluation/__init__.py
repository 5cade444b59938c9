"""Evaluation of face image quality: error-versus-discard curves, methods, data sets, open-set tests, savings."""

if __name__ != "facegate.evaluation":
    raise ImportError(f"import facegate.evaluation, not {__name__}")
