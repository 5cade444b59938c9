"""Kept data: backups, restoring, what is wrong with files and what can be recovered of them."""
