"""Logins of cameras that FFmpeg does not know: Digest with SHA-256 (RFC 7616)."""
