"""Reading, encoding and shrinking pictures."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps

from facegate.errors import SourceError, os_errors
from facegate.extras import installed
from facegate.paths import replacing
from facegate.pipeline.records import Box, Image, contiguous

MAX_FILE_BYTES = 64 * 1024 * 1024
PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".jp2", ".j2k"}
    | {".avif", ".heic", ".heif", ".hif", ".ppm", ".pgm", ".pnm"}
)
"""Suffixes of picture files, lower case."""
BLUR_CELLS, FACE_MARGIN = 5, 0.15
"""Colors across a blurred face, and the part of its box that is blurred on each side of it."""
HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
"""Brands of HEIF files (ISO/IEC 23008-12), which phones write."""
TEXT_ORIENTATION = (b"tiff:Orientation", b"Raw profile type")
"""How XMP and text chunks begin that may hold an orientation; OpenCV reads the EXIF tag only."""


def read_image(path: Path) -> Image:
    """Read a picture as ``(H, W, 3)`` RGB, rotated by its EXIF tag.

    Raises:
        SourceError: missing, too large, or not a picture.
    """
    return decode_image(read_picture_file(path), str(path))


def read_picture_file(path: Path) -> bytes:
    """Read a file of bounded size.

    Raises:
        SourceError: missing, or too large.
    """
    with os_errors(SourceError, f"cannot read {path}"):
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise SourceError(f"{path} is larger than {MAX_FILE_BYTES // 2**20} MiB: use a smaller picture")
        return path.read_bytes()


def decode_image(content: bytes, shown: str) -> Image:
    """Decode a picture file's content to ``(H, W, 3)`` RGB, rotated by its orientation metadata.

    Raises:
        SourceError: not a picture, or one that needs an extra; ``shown`` names it in the message.
    """
    is_box = content[4:8] == b"ftyp"  # AVIF and HEIF: OpenCV ignores the orientation of the first, knows no second
    if is_box and content[8:12] in HEIF_BRANDS and b"avif" not in content[8:64] and not installed("heif"):
        raise SourceError(f"{shown} is a HEIC picture: use JPEG, or pip install 'facegate[heif]'")
    image = None
    if content and not is_box and not any(mark in content for mark in TEXT_ORIENTATION):
        image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    return (
        _decoded_by_pillow(content, shown) if image is None else contiguous(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    )


def _decoded_by_pillow(content: bytes, shown: str) -> Image:
    if installed("heif"):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    try:
        with PillowImage.open(BytesIO(content)) as picture:
            return contiguous(np.asarray(ImageOps.exif_transpose(picture).convert("RGB"), np.uint8))
    except (OSError, ValueError, SyntaxError, MemoryError, PillowImage.DecompressionBombError) as error:
        raise SourceError(f"{shown} is not a readable picture: use JPEG or PNG") from error


def encode_jpeg(image: Image, quality: int) -> bytes:
    """Encode ``(H, W, 3)`` RGB as JPEG with quality 1 to 100."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def write_png(path: Path, image: Image) -> None:
    """Write ``(H, W, 3)`` RGB as PNG, whole or not at all.

    OpenCV writes into the file itself, and reports neither a missing folder nor a full disk.

    Raises:
        OSError: it cannot be written.
    """
    content = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    with replacing(path) as part:
        part.write_bytes(content)


def shrink(image: Image, size: tuple[int, int]) -> Image:
    """Scale ``image`` down to ``size`` (width, height), halving it first where possible, which is fast."""
    picture: NDArray[Any] = image
    while picture.shape[1] >= 2 * size[0] and picture.shape[0] >= 2 * size[1]:
        even = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
        picture = cv2.resize(even, (even.shape[1] // 2, even.shape[0] // 2), interpolation=cv2.INTER_AREA)
    if picture.shape[1::-1] != size:
        # The rest is less than a factor of two: bilinear takes a third of the time of averaging and hardly differs.
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    return contiguous(picture)


def shrink_to(image: Image, longer_side: int | None) -> tuple[Image, float]:
    """Return ``image`` with its longer side at most ``longer_side`` pixels, and the scale applied (<= 1)."""
    scale = 1.0 if longer_side is None else min(1.0, longer_side / max(image.shape[:2]))
    if scale == 1.0:
        return image, 1.0
    return shrink(image, (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))), scale


def blurred(image: Image, boxes: Sequence[Box]) -> Image:
    """Make the faces in ``boxes`` unrecognizable; return ``image`` itself if there are none."""
    if not boxes:
        return image
    image = image.copy()
    for left, top, right, bottom in boxes:
        grow_x, grow_y = FACE_MARGIN * (right - left), FACE_MARGIN * (bottom - top)
        rows = slice(max(0, round(top - grow_y)), max(0, round(bottom + grow_y)))
        part = image[rows, max(0, round(left - grow_x)) : max(0, round(right + grow_x))]
        if part.size:
            coarse = cv2.resize(part, (BLUR_CELLS, BLUR_CELLS), interpolation=cv2.INTER_AREA)
            part[:] = cv2.resize(coarse, (part.shape[1], part.shape[0]), interpolation=cv2.INTER_LINEAR)
    return image
