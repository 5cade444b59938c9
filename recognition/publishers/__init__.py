"""Names go where they are needed: a web address, an MQTT broker, a JetStream server, dashboards."""
