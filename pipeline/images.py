"""Reading pictures from files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from facegate.errors import SourceError
from facegate.pipeline.records import Image, contiguous

MAX_FILE_BYTES = 64 * 1024 * 1024


def read_image(path: Path) -> Image:
    """Read a picture as ``(H, W, 3)`` RGB, turned upright by its EXIF tag.

    Raises:
        SourceError: missing, too large, or not a picture.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise SourceError(f"{path} is larger than {MAX_FILE_BYTES // 2**20} MiB: shrink the picture first")
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read {path}: {(error.strerror or 'unknown error').lower()}") from error
    image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR) if content else None
    if image is None:
        raise SourceError(f"{path} is not a picture that can be read: use JPEG or PNG")
    return contiguous(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
