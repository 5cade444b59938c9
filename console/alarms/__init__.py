"""Alarms: what is wrong now, since when, and what was wrong before."""
