"""The worker: receives shots, says whose visits they belong to, and acknowledges."""
