"""Where shots go: the wire format and the ZeroMQ gate."""

if __name__ != "facegate.sinks":
    raise ImportError(f"import facegate.sinks, not {__name__}")
