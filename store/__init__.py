"""Store of shots, visits and tracks in one SQLite file, written by gates and workers and read by a console."""

if __name__ != "facegate.store":
    raise ImportError(f"import facegate.store, not {__name__}")
