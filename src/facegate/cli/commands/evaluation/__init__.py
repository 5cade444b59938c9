"""Verbs that measure: scores, savings, what a threshold costs."""
