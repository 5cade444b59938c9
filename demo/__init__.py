"""The demonstration: a clip with real faces, a small RTSP server, gate and worker end to end."""
