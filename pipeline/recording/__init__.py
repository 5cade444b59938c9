"""Recordings of what a gate decides on, and replay."""
