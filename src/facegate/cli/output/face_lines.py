"""Implements ``facegate score``: pictures in, one JSON line per face out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from facegate.detectors.align import align, aligned_landmarks
from facegate.detectors.base import Detector
from facegate.errors import ConfigError, SourceError, os_errors
from facegate.pipeline.images import read_image, write_png
from facegate.pipeline.observability.heatmap import heatmap
from facegate.pipeline.quality.advice import Advice
from facegate.pipeline.quality.components import Components
from facegate.pipeline.quality.explain import reasons
from facegate.pipeline.records import Box
from facegate.scoring.engine import Scorer


class FaceLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A face in the output of ``facegate score``."""

    file: str
    box: Box
    landmarks: list[list[float]]
    raw: float
    quality: int
    algorithm: str
    components: Components | None = None
    """Quality components, 0 (worst) to 100 each."""
    advice: Advice | None = None
    """Change that would improve the quality most."""
    embedding: list[float] | None = None


def prepare_heatmaps(folder: Path) -> None:
    """Create the folder before anything is computed.

    Raises:
        ConfigError: it cannot be created.
    """
    with os_errors(ConfigError, f"cannot create folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)


def score_images(
    files: Sequence[Path],
    output: IO[str],
    detector: Detector,
    scorer: Scorer,
    embedding: bool,
    heatmaps: Path | None,
    with_reasons: bool = False,
) -> int:
    """Score every face of every picture; return the number of unreadable pictures and pictures without a face."""
    failed = 0
    for file in files:
        try:
            lines = _score_one(file, detector, scorer, embedding, heatmaps, with_reasons)
        except SourceError as error:
            sys.stderr.write(f"facegate: {error}\n")
            failed += 1
            continue
        if not lines:
            sys.stderr.write(f"facegate: no face found in {file}\n")
            failed += 1
        for line in lines:
            output.write(msgspec.json.encode(line).decode() + "\n")
        output.flush()
    return failed


def _score_one(
    file: Path, detector: Detector, scorer: Scorer, embedding: bool, heatmaps: Path | None, with_reasons: bool
) -> list[FaceLine]:
    image = read_image(file)
    faces = detector.detect([image])[0]
    if not faces:
        return []
    crops = [align(image, face.landmarks) for face in faces]
    landmarks = aligned_landmarks([face.landmarks for face in faces])
    scores: Any = scorer.score(np.stack(crops), landmarks=landmarks, embedding=embedding)
    lines = []
    for index, face in enumerate(faces):
        if heatmaps is not None:
            name = f"{file.stem}_{index}_q{scores.quality[index]:03d}.png"
            with os_errors(ConfigError, f"cannot write {heatmaps / name}"):
                write_png(heatmaps / name, heatmap(crops[index], scores.patches[index]))
        why = None
        if with_reasons:
            size, quality = (image.shape[1], image.shape[0]), int(scores.quality[index])
            why = reasons(crops[index], face, size, scores.patches[index], quality, scorer.card.name)
        lines.append(
            FaceLine(
                file=str(file),
                box=tuple(round(value, 2) for value in face.box),  # type: ignore[arg-type]
                landmarks=[[round(float(v), 2) for v in point] for point in face.landmarks],
                raw=float(scores.raw_score[index]),
                quality=int(scores.quality[index]),
                algorithm=scorer.algorithm,
                components=None if why is None else why.components,
                advice=None if why is None else why.advice,
                embedding=[float(v) for v in scores.embedding[index]] if embedding else None,
            )
        )
    return lines
