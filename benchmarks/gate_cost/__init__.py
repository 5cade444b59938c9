"""What the gate itself costs: the whole bill, a look, a face."""
