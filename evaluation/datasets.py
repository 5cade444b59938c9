"""Evaluation sets: pictures by person from a folder or zip, aligned once and cached."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.detectors.align import CROP_SIZE, align
from facegate.detectors.base import Detector
from facegate.errors import ConfigError, os_errors
from facegate.paths import replacing
from facegate.pipeline.records import Detection, Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MAX_PICTURE_BYTES = 64 * 1024 * 1024

Progress = Callable[[int, int], None]


class FaceSet(msgspec.Struct, frozen=True, eq=False):
    """``N`` aligned crops with identities and detector results."""

    files: list[str]
    """``<person>/<picture>`` within the set."""
    crops: NDArray[np.uint8]
    """``(N, 112, 112, 3)`` RGB."""
    widths: NDArray[np.float64]
    """``(N,)`` face width in the picture, pixels; NaN for pre-aligned pictures."""
    confidences: NDArray[np.float64]
    """``(N,)`` detector confidence; NaN for pre-aligned pictures."""

    @property
    def names(self) -> list[str]:
        """The person of each crop: the folder it is in."""
        return [PurePosixPath(file).parent.name for file in self.files]

    @property
    def digest(self) -> str:
        """Hash of the crops, the cache key of results."""
        return hashlib.sha256(np.ascontiguousarray(self.crops).tobytes()).hexdigest()[:16]

    def with_crops(self, crops: NDArray[np.uint8]) -> FaceSet:
        """A copy with other pixels, such as degraded ones."""
        return FaceSet(files=self.files, crops=crops, widths=self.widths, confidences=self.confidences)


def load_set(path: Path, detector: Detector, cache: Path, progress: Progress = lambda done, total: None) -> FaceSet:
    """Read a folder or zip of ``<person>/<picture>``; pictures of exactly 112x112 count as aligned.

    The largest, most central face is used; pictures without a face are omitted. The result is cached in ``cache``
    by the content of the set.

    Raises:
        ConfigError: no such set, or no picture in it.
    """
    entries = list(_entries(path))
    if not entries:
        raise ConfigError(f"{path} holds no pictures: give one subfolder (or zip folder) per person")
    key = hashlib.sha256(detector.name.encode())
    for name, content in entries:
        key.update(name.encode())
        key.update(hashlib.sha256(content).digest())
    kept = cache / f"set-{key.hexdigest()[:16]}.npz"
    if kept.is_file():
        with np.load(kept, allow_pickle=False) as data:
            return FaceSet([str(f) for f in data["files"]], data["crops"], data["widths"], data["confidences"])
    files, crops, widths, confidences = [], [], [], []
    for index, (name, content) in enumerate(entries):
        found = _crop(content, detector)
        if found is not None:
            files.append(name)
            crops.append(found[0])
            widths.append(found[1])
            confidences.append(found[2])
        progress(index + 1, len(entries))
    if not crops:
        raise ConfigError(f"no face found in any of the {len(entries)} pictures of {path}: give other pictures")
    result = FaceSet(files, np.stack(crops), np.array(widths), np.array(confidences))
    with os_errors(ConfigError, f"cannot write {kept}", "give another --cache folder"):
        cache.mkdir(parents=True, exist_ok=True)
        with replacing(kept, keep_suffix=True) as part:
            np.savez(part, files=np.array(files), crops=result.crops, widths=widths, confidences=confidences)
    return result


def _entries(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in SUFFIXES and file.stat().st_size <= MAX_PICTURE_BYTES:
                yield file.relative_to(path).as_posix(), file.read_bytes()
    elif path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for info in sorted(archive.infolist(), key=lambda item: item.filename):
                if info.filename.lower().endswith(SUFFIXES) and info.file_size <= MAX_PICTURE_BYTES:
                    yield "/".join(PurePosixPath(info.filename).parts[-2:]), archive.read(info)
    else:
        raise ConfigError(f"no evaluation set at {path}: give a folder or zip with one folder per person")


def _crop(content: bytes, detector: Detector) -> tuple[Image, float, float] | None:
    picture = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        return None
    image: Image = np.ascontiguousarray(picture[:, :, ::-1])
    if image.shape == (CROP_SIZE, CROP_SIZE, 3):
        return image, float("nan"), float("nan")
    faces = detector.detect([image])[0]
    if not faces:
        return None
    middle = np.array(image.shape[1::-1]) / 2

    def prominence(face: Detection) -> float:
        center = np.array([face.box[0] + face.box[2], face.box[1] + face.box[3]]) / 2
        return face.width - 2 * float(np.abs(center - middle).max())

    face = max(faces, key=prominence)
    return align(image, face.landmarks), face.width, face.confidence


class Pair(msgspec.Struct, frozen=True):
    """One line of a verification protocol."""

    fold: int
    first: str
    second: str
    same: bool


def load_pairs(path: Path) -> list[Pair]:
    """Read LFW-style pairs: tab-separated ``fold, a, b, same`` with a header line.

    Raises:
        ConfigError: unreadable, or a malformed line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {(error.strerror or 'unknown error').lower()}") from error
    pairs = []
    for number, line in enumerate(lines[1:], start=2):
        parts = line.split("\t")
        if len(parts) != 4 or not parts[0].isdecimal() or parts[3] not in ("0", "1"):
            raise ConfigError(f"{path}, line {number}: expected fold, picture, picture, 0 or 1, separated by tabs")
        pairs.append(Pair(int(parts[0]), parts[1], parts[2], parts[3] == "1"))
    return pairs


def verification_accuracy(pairs: list[Pair], files: list[str], embeddings: NDArray[np.float32]) -> float:
    """Mean accuracy over folds, each at the threshold that is best on the other folds (the LFW protocol)."""
    row = {file: index for index, file in enumerate(files)}
    usable = [pair for pair in pairs if pair.first in row and pair.second in row]
    folds = np.array([pair.fold for pair in usable])
    same = np.array([pair.same for pair in usable])
    score = np.array([float(embeddings[row[p.first]] @ embeddings[row[p.second]]) for p in usable])
    accuracies = []
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        thresholds = np.unique(score[train])
        best = thresholds[np.argmax([((score[train] >= t) == same[train]).mean() for t in thresholds])]
        accuracies.append(((score[test] >= best) == same[test]).mean())
    return float(np.mean(accuracies))
