"""Where frames come from: video files, RTSP streams and webcams."""
