"""Home Assistant itself: 'make homeassistant'."""
