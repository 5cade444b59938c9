"""Checks uploaded pictures by their headers, before they are decoded."""

from __future__ import annotations

from io import BytesIO

from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from facegate.errors import SourceError

MAX_PIXELS = 50_000_000
"""Maximum number of pixels of an uploaded picture."""
KINDS = ("JPEG", "PNG", "WEBP", "BMP")


def pixels_of(source: str, content: bytes) -> int:
    """Number of pixels of a picture, from its header.

    Args:
        source: name of the picture for messages.
        content: encoded file.

    Raises:
        SourceError: not a picture, an animation, or too large.
    """
    try:
        with Pillow.open(BytesIO(content), formats=KINDS) as picture:
            width, height = picture.size
            # A phone's JPEG may contain a thumbnail or depth map after the photograph (MPO).
            frames = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise SourceError(f"{source} is not a readable picture; use JPEG, PNG, WebP or BMP") from error
    if frames > 1:
        raise SourceError(f"{source} is an animation with {frames} frames; send a single picture")
    if width * height > MAX_PIXELS:
        raise SourceError(
            f"{source} has {width}x{height} pixels; the maximum is {MAX_PIXELS // 1_000_000} megapixels"
        )
    return width * height
