"""Texts that users read."""
