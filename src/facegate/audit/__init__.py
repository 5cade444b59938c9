"""The audit log: what is appended to it, and how it is verified."""
