"""Pictures from outside: looked at by their header before anything is unpacked."""

from __future__ import annotations

from io import BytesIO

from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from facegate.errors import SourceError

MAX_PIXELS = 50_000_000
"""Of a picture; more is refused before it is unpacked."""
KINDS = ("JPEG", "PNG", "WEBP", "BMP")


def pixels_of(source: str, content: bytes) -> int:
    """How many pixels a picture will have.

    Args:
        source: what messages call it.
        content: of the file.

    Raises:
        SourceError: not a picture, more than one, or too large.
    """
    try:
        with Pillow.open(BytesIO(content), formats=KINDS) as picture:
            width, height = picture.size
            # A phone's JPEG may carry a smaller copy or a depth map behind the photograph (MPO): that is no film.
            frames = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise SourceError(f"{source} is not a picture that can be read: use JPEG or PNG") from error
    if frames > 1:
        raise SourceError(f"{source} is a film of {frames} pictures; send one of them")
    if width * height > MAX_PIXELS:
        raise SourceError(f"{source} has {width}x{height} pixels; make it smaller first")
    return width * height
