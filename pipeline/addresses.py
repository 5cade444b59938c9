"""Addresses of cameras, and how they are shown without their passwords."""

from __future__ import annotations

import re

# Up to the last @: passwords may hold @ and / too, and hiding a bit of the path as well does no harm.
_USERINFO = re.compile(r"(?<=://)\S*@")


def redact(text: str) -> str:
    """Hide the user part of every URL in ``text``: ``rtsp://user:secret@host`` becomes ``rtsp://***@host``."""
    return _USERINFO.sub("***@", text)
