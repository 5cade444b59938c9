"""Notifications: rules that say who is notified of what, an outbox on disk, and the channels that tell."""
