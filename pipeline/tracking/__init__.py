"""From detections to tracks, one person per track."""
