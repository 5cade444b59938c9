"""Commands that measure: scores, savings, thresholds."""
