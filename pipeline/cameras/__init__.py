"""One camera of a run: its thread, its state, its return after a loss, and what can be found out about it."""
