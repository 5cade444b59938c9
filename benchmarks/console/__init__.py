"""What the console costs, and how quickly it answers."""
