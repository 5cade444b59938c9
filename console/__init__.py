"""The console: one command that watches, recognizes, keeps and shows. It holds no truth of its own."""

if __name__ != "facegate.console":
    raise ImportError(f"import facegate.console, not {__name__}")
