"""MQTT: a connection that a broker's restart does not hurt, shots, and what Home Assistant needs to find them."""
