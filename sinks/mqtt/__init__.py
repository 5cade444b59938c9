"""MQTT: a connection that survives restarts of the broker, shots, and Home Assistant discovery."""
