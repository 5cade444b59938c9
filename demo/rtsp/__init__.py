"""A small RTSP server (RFC 2326): plays files in real time."""
