"""The console: runs a gate and a worker, and serves pages and a REST API over their data."""

if __name__ != "facegate.console":
    raise ImportError(f"import facegate.console, not {__name__}")
