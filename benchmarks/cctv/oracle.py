"""Searches every frame as a whole at native scale, and keeps what it found on disk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.cctv.scenes import Scene
from facegate.detectors.base import load_detector
from facegate.pipeline.records import Box, Image

NATIVE_SIDE = 8192
MIN_FACE_PX = 24


class Oracle:
    """The faces of one scene."""

    def __init__(self, kind: str, path: str | None, cache: Path) -> None:
        file = None if path is None else Path(path)
        self._detector = load_detector(kind, file, max_side=NATIVE_SIDE, min_face_px=MIN_FACE_PX)
        self._kind = kind
        self._cache = cache
        self._faces: dict[int, list[Box]] = {}

    def of(self, scene: Scene) -> dict[int, list[Box]] | None:
        """Load what is kept of a scene, if anything is."""
        file = self._file(scene)
        self._faces = {}
        if not file.is_file():
            return None
        self._faces = {
            int(number): [tuple(box) for box in faces] for number, faces in json.loads(file.read_text()).items()
        }
        return self._faces

    def search(self, number: int, image: Image) -> None:
        """Search one frame."""
        self._faces[number] = [face.box for face in self._detector.detect([image])[0]]

    def faces(self, number: int) -> list[Box]:
        """Return the faces of a frame."""
        return self._faces[number]

    def keep(self, scene: Scene) -> None:
        """Keep the faces of the scene."""
        self._cache.mkdir(parents=True, exist_ok=True)
        self._file(scene).write_text(json.dumps(self._faces))

    def _file(self, scene: Scene) -> Path:
        source = (
            Path(__file__).with_name("scenes.py").read_bytes() + Path(__file__).with_name("people.py").read_bytes()
        )
        key = hashlib.sha256(json.dumps([asdict(scene), self._kind]).encode() + source).hexdigest()[:16]
        return self._cache / f"oracle-{key}.json"
