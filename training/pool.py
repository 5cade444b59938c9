"""The training crops: an archive of aligned 112x112 pictures, decoded once into one array on disk.

A fifth of UTKFace's pictures, by a hash of their names, is never trained on: whom a model drops is measured there.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.errors import ConfigError

SUFFIXES = (".webp", ".jpg", ".jpeg", ".png")
KEPT_OUT = 5
"""One in this many labeled pictures is held out."""
GENDERS = ("male", "female")
RACES = ("White", "Black", "Asian", "Indian", "others")
AGES = ((0, 2), (3, 12), (13, 19), (20, 39), (40, 59), (60, 120))


class Labels(msgspec.Struct, frozen=True):
    """What UTKFace's file names say of a face: groups named by the labellers, not by the people themselves."""

    age: str
    gender: str
    race: str


class Pool(msgspec.Struct, frozen=True, eq=False):
    """The crops, ``(N, 112, 112, 3)`` uint8 RGB, memory-mapped, and their names in the archive."""

    crops: NDArray[np.uint8]
    names: tuple[str, ...]

    def only(self, rows: NDArray[np.bool_]) -> Pool:
        """The crops where ``rows`` holds, in memory."""
        return Pool(self.crops[rows], tuple(name for name, wanted in zip(self.names, rows, strict=True) if wanted))

    def kept_out(self) -> NDArray[np.bool_]:
        """Mask ``(N,)`` of the crops that are never trained on."""
        return np.array([kept_out(name) for name in self.names])


def kept_out(name: str) -> bool:
    """Whether a picture of the archive is held out of training."""
    return labels(name) is not None and zlib.crc32(Path(name).name.encode()) % KEPT_OUT == 0


def labels(name: str) -> Labels | None:
    """The labels in a name such as ``utk/34_1_2_20170103.webp`` (age, gender, race); ``None`` without."""
    path = Path(name)
    parts = path.stem.split("_")
    if path.parent.name != "utk" or len(parts) != 4:
        return None
    age, gender, race = (int(part) for part in parts[:3])
    span = next((f"{low}-{high}" for low, high in AGES if low <= age <= high), None)
    if span is None or gender >= len(GENDERS) or race >= len(RACES):
        return None
    return Labels(span, GENDERS[gender], RACES[race])


def load_pool(archive: Path, cache: Path) -> Pool:
    """Read the archive; its pixels are kept in ``cache`` (written at the first call).

    Raises:
        ConfigError: no such archive, or a picture in it is not 112x112.
    """
    if not archive.is_file():
        raise ConfigError(f"no pool of crops at {archive}: give a zip of aligned 112x112 pictures")
    with zipfile.ZipFile(archive) as pool:
        names = sorted(name for name in pool.namelist() if name.lower().endswith(SUFFIXES))
        if not cache.is_file():
            part = cache.with_suffix(".part.npy")
            np.save(part, _decoded(archive, pool, names))
            part.replace(cache)
    mapped: NDArray[np.uint8] = np.load(cache, mmap_mode="r")
    if len(mapped) != len(names):
        raise ConfigError(f"{cache} was made from another archive than {archive}: delete it")
    return Pool(mapped, tuple(names))


def _picture(encoded: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(encoded, dtype=np.uint8), cv2.IMREAD_COLOR)


def _decoded(archive: Path, pool: zipfile.ZipFile, names: Sequence[str]) -> NDArray[np.uint8]:
    crops = np.empty((len(names), 112, 112, 3), dtype=np.uint8)
    with ThreadPoolExecutor() as executor:
        for index, image in enumerate(executor.map(_picture, map(pool.read, names))):
            if image is None or image.shape != (112, 112, 3):
                raise ConfigError(f"{names[index]} of {archive} is not a 112x112 picture: remove it")
            crops[index] = image[:, :, ::-1]
    return crops
