"""Recognition worker: receives shots, recognizes people, groups shots into visits."""
