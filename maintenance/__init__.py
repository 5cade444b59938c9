"""Maintenance of data: backups, restoring, checks and recovery of damaged files."""

if __name__ != "facegate.maintenance":
    raise ImportError(f"import facegate.maintenance, not {__name__}")
