"""A small RTSP server (RFC 2326) for tests and the demo: plays files at their own speed, well or badly."""
