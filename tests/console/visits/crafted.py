"""A console's store with visits of chosen times, names and cameras, with the faces of the demonstration."""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np

from facegate.demo.clip import DemoClip
from facegate.pipeline.images import encode_jpeg, read_image
from facegate.pipeline.records import Image
from facegate.sinks import wire
from facegate.store.records import VisitUpdate
from facegate.store.writer import StoreWriter

from ...store.test_store import entry

SCENE = (640, 360)


class CraftedVisit(msgspec.Struct, frozen=True):
    """A visit of one shot."""

    track: int
    at: float
    name: str | None = None
    camera: str = "door"
    quality: int = 60
    person: int = 0
    """Whose face of the demonstration."""

    @property
    def visit(self) -> str:
        return f"run/{self.camera}/{self.track}"


def faces(clip: DemoClip) -> list[Image]:
    """Crops of the demonstration's people, one each."""
    pictures = [sorted(folder.iterdir())[0] for folder in sorted(clip.gallery.iterdir())]
    return [cv2.resize(read_image(path), (112, 112), interpolation=cv2.INTER_AREA) for path in pictures]


def craft(path: Path, visits: list[CraftedVisit], crops: list[Image]) -> None:
    """Store visits."""
    entries = []
    for each in visits:
        made = entry(each.track, camera=each.camera, quality=each.quality, track=each.track)
        header = msgspec.structs.replace(
            wire.decode_header(made.header), received_at=each.at, frame_size=SCENE, context_size=SCENE,
            box=(250.0, 60.0, 390.0, 240.0),
        )  # fmt: skip
        crop = crops[each.person % len(crops)]
        scene = np.full((SCENE[1], SCENE[0], 3), 70, np.uint8)
        scene[60:240, 250:390] = cv2.resize(crop, (140, 180))
        entries.append(
            msgspec.structs.replace(
                made, header=wire.encode(header), crop=encode_jpeg(crop, 90), context=encode_jpeg(scene, 80)
            )
        )
    with StoreWriter(path) as store:
        store.add_shots(entries)
        store.update_visits(
            [
                VisitUpdate(v.visit, v.camera, v.track, v.name, 0.7 if v.name else 0.1, 0.3, 1e-4, v.at, "ended")
                for v in visits
            ]
        )
