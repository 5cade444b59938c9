"""Judging face image quality: degradations, error-versus-discard curves, baselines and data sets."""

if __name__ != "facegate.evaluation":
    raise ImportError(f"import facegate.evaluation, not {__name__}")
