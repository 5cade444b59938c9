"""From source to shot: records, channels, stages, tracking, gating and the runner."""

if __name__ != "facegate.pipeline":
    raise ImportError(f"import facegate.pipeline, not {__name__}")
