"""The training crops: an archive of aligned 112x112 pictures, decoded once into one array on disk."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facegate.errors import ConfigError

SUFFIXES = (".webp", ".jpg", ".jpeg", ".png")


def load_pool(archive: Path, cache: Path) -> NDArray[np.uint8]:
    """Return ``(N, 112, 112, 3)`` RGB, memory-mapped from ``cache`` (written at the first call).

    Raises:
        ConfigError: no such archive, or a picture in it is not 112x112.
    """
    if not cache.is_file():
        if not archive.is_file():
            raise ConfigError(f"no pool of crops at {archive}: give a zip of aligned 112x112 pictures")
        with zipfile.ZipFile(archive) as pool:
            names = sorted(name for name in pool.namelist() if name.lower().endswith(SUFFIXES))
            crops = np.empty((len(names), 112, 112, 3), dtype=np.uint8)
            for index, name in enumerate(names):
                image = cv2.imdecode(np.frombuffer(pool.read(name), dtype=np.uint8), cv2.IMREAD_COLOR)
                if image is None or image.shape != (112, 112, 3):
                    raise ConfigError(f"{archive}: {name} is not a 112x112 picture")
                crops[index] = image[:, :, ::-1]
        part = cache.with_suffix(".part.npy")
        np.save(part, crops)
        part.replace(cache)
    mapped: NDArray[np.uint8] = np.load(cache, mmap_mode="r")
    return mapped
