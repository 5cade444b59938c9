"""From source to shot: records, channels, stages, tracking, gating and the runner."""
