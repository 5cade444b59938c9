"""What is told of a run: the one fate of every face, the report, health and metrics, telemetry, contact sheets."""
