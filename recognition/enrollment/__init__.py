"""Enrollment: the gallery file, checks of pictures, unknown visitors, erasure."""
