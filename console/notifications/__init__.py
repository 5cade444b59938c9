"""Notifications: rules that say who is told of what, an outbox on disk, and the channels that tell."""
