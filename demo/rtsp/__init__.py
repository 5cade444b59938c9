"""A small RTSP server (RFC 2326) for tests and the demo: plays files in real time, optionally with faults."""
