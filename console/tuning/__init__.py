"""Replay of recorded faces with other gate settings."""
