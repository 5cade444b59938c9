"""Figures of the fleet."""
