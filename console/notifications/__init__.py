"""Notifications: rules of who receives what, an outbox on disk, and the channels that deliver."""
