"""Writes the shots of a run as pictures, and a sheet with the best and the worst crop of each track."""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np

from facegate.errors import ConfigError, os_errors
from facegate.pipeline.gating.gate import Decision
from facegate.pipeline.images import write_png
from facegate.pipeline.records import Image, ScoredFace

MAX_TRACKS = 200
"""Maximum number of tracks on the sheet; bounds memory and the size of the picture."""
COLUMNS = 4
CROP = 112
CAPTION = 20
GAP = 6


class _Extremes(msgspec.Struct):
    camera: str
    best: ScoredFace
    worst: ScoredFace
    faces: int = 0


class ContactSheet:
    """Collects a gate's decisions; ``write`` makes ``contact_sheet.png``. Shots are written as they are decided."""

    def __init__(self, folder: Path) -> None:
        """Create the folder.

        Raises:
            ConfigError: it cannot be created.
        """
        self._shots = folder / "shots"
        self._sheet = folder / "contact_sheet.png"
        with os_errors(ConfigError, f"cannot create {folder}"):
            self._shots.mkdir(parents=True, exist_ok=True)
        self._tracks: dict[tuple[str, int], _Extremes] = {}

    def add(self, decision: Decision) -> None:
        """Take one decision."""
        face = decision.face
        camera = face.face.frame.camera
        key = (camera, face.track_id)
        known = self._tracks.get(key)
        if not isinstance(face, ScoredFace):
            if known is not None:
                known.faces += 1
            return
        if known is None:
            if len(self._tracks) >= MAX_TRACKS:
                return
            known = self._tracks[key] = _Extremes(camera=camera, best=face, worst=face)
        known.faces += 1
        known.best = max(known.best, face, key=lambda item: item.raw_score)
        known.worst = min(known.worst, face, key=lambda item: item.raw_score)
        if decision.shot is not None:
            name = f"{camera}_track{face.track_id:04d}_{decision.shot.rank}_q{face.quality:03d}.png"
            _write(self._shots / name, face.face.crop)

    def write(self) -> Path:
        """Write the sheet and return its path."""
        cells = [_cell(extremes) for _, extremes in sorted(self._tracks.items(), key=lambda item: item[0])]
        cells = cells or [_blank(2 * CROP + GAP, CROP + CAPTION)]
        rows = []
        for start in range(0, len(cells), COLUMNS):
            row = cells[start : start + COLUMNS]
            row += [_blank(*cells[0].shape[1::-1])] * (min(COLUMNS, len(cells)) - len(row))
            rows.append(np.hstack([np.hstack([cell, _blank(2 * GAP, cell.shape[0])]) for cell in row]))
        _write(self._sheet, np.vstack(rows))
        return self._sheet


def _cell(extremes: _Extremes) -> Image:
    """Best crop on the left, worst on the right, caption above."""
    caption = _blank(2 * CROP + GAP, CAPTION)
    text = (
        f"#{extremes.best.track_id} {extremes.camera[:10]} n={extremes.faces} "
        f"best {extremes.best.quality} worst {extremes.worst.quality}"
    )
    cv2.putText(caption, text, (2, CAPTION - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (20, 20, 20), 1, cv2.LINE_AA)
    pair = np.hstack([extremes.best.face.crop, _blank(GAP, CROP), extremes.worst.face.crop])
    return np.vstack([caption, pair])


def _blank(width: int, height: int) -> Image:
    return np.full((height, width, 3), 255, dtype=np.uint8)


def _write(path: Path, image: Image) -> None:
    with os_errors(ConfigError, f"cannot write {path}", "check the folder's permissions"):
        write_png(path, image)
