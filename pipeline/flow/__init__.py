"""Bounded channels, and fair batches over cameras."""
