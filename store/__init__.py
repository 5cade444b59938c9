"""What is kept of shots, visits and tracks, in one SQLite file: gates and workers write it, a console reads it."""

if __name__ != "facegate.store":
    raise ImportError(f"import facegate.store, not {__name__}")
