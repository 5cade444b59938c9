"""The demo: a clip with real faces, a small RTSP server, gate and worker end to end."""

if __name__ != "facegate.demo":
    raise ImportError(f"import facegate.demo, not {__name__}")
