"""Search by face and unknown visitors: latency, recall, rates."""
