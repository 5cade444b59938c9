"""Bounded channels, fair batching and sharing of cores between cameras and stages."""
