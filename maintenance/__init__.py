"""Kept data: backups, restoring, what is wrong with files and what can be recovered of them."""

if __name__ != "facegate.maintenance":
    raise ImportError(f"import facegate.maintenance, not {__name__}")
