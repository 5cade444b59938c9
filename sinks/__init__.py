"""Outputs for shots: wire format, ZeroMQ workers, JetStream, MQTT, webhook, files."""

if __name__ != "facegate.sinks":
    raise ImportError(f"import facegate.sinks, not {__name__}")
