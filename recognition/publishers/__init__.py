"""Publishers of visit events: webhook, MQTT, JetStream, ZeroMQ, a console's store."""
