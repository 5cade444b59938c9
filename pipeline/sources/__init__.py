"""Sources of frames: video files, folders of pictures, network streams and webcams."""
