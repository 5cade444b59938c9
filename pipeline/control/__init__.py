"""State of a running gate for a console: control socket, live view, tracks for the store."""
