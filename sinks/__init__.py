"""Where shots go: the wire format and the ZeroMQ gate."""
