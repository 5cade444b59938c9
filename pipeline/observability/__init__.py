"""What is told of a run: the one fate of every face, the report, health and metrics, contact sheets."""
