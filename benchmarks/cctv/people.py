"""People of the development clips, cut out with the places of their faces, to be pasted into larger scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.gate_cost.detection import sampled_frames
from facegate.detectors.base import Detector, same_face
from facegate.pipeline.records import Box, Image

SAMPLE_FPS = 5.0
CLIPS = (
    "multi_face.avi",
    "0294_02_004_angelina_jolie.avi",
    "asl_brother.mkv",
    "default.wmv",
    "asl_milk.mkv",
    "0490_03_007_bill_gates.avi",
    "asl_learn.mkv",
    "1034_03_006_jet_li.avi",
    "asl_night.mkv",
    "0188_03_021_al_pacino.avi",
    "asl_want.mkv",
    "1192_01_006_julia_roberts.avi",
)
"""Faces in them are large enough to be shrunk to every size of a scene."""
MAX_FRAMES = 60
MIN_FRAMES = 8
SIDE, ABOVE, BELOW = 1.0, 0.9, 1.3
"""Margins around the faces of a track, in widths of a face."""


@dataclass(frozen=True)
class Cutout:
    """One person's frames, five a second."""

    name: str
    frames: list[Image]
    boxes: list[Box]
    """The face in each frame, pixels of the frame."""
    others: list[list[Box]]
    """Further faces in each frame, of bystanders."""
    alpha: NDArray[np.float32]
    """``(H, W, 1)``; the edge is soft."""

    @property
    def width(self) -> float:
        """Median width of the face."""
        return float(np.median([box[2] - box[0] for box in self.boxes]))


def load_people(data: Path, detector: Detector, cache: Path) -> list[Cutout]:
    """Cut out the people of :data:`CLIPS`, the largest faces of each clip; kept in ``cache``."""
    people: list[Cutout] = []
    for clip in CLIPS:
        kept = cache / f"people-{clip}.npz"
        if not kept.is_file():
            cache.mkdir(parents=True, exist_ok=True)
            np.savez(kept, allow_pickle=False, **_cut_out(data / "clips" / clip, detector))
        with np.load(kept) as stored:
            for index in range(len(stored.files) // 3):
                frames, boxes, others = (stored[f"{name}{index}"] for name in ("frames", "boxes", "others"))
                beside: list[list[Box]] = [[] for _ in frames]
                for number, *box in others.tolist():
                    beside[int(number)].append(_box(box))
                places = [_box(box) for box in boxes.tolist()]
                alpha = _soft_edge(*frames.shape[1:3])
                people.append(Cutout(f"{clip.split('.')[0]}/{index}", list(frames), places, beside, alpha))
    return people


def _cut_out(path: Path, detector: Detector) -> dict[str, NDArray[np.generic]]:
    """Follow the faces that the first frames show, and cut each out with a fixed window."""
    frames = [image for _, image in sampled_frames(path, SAMPLE_FPS)][:MAX_FRAMES]
    tracks: list[list[tuple[int, Box]]] = []
    every: list[list[Box]] = []
    for index, image in enumerate(frames):
        found_here = detector.detect([image])[0]
        every.append([face.box for face in found_here])
        for face in found_here:
            if face.confidence < 0.7 or face.width < 40:
                continue
            known = next((t for t in tracks if t[-1][0] == index - 1 and same_face(t[-1][1], face.box)), None)
            if known is None:
                tracks.append([(index, face.box)])
            else:
                known.append((index, face.box))
    found: dict[str, NDArray[np.generic]] = {}
    long = sorted((t for t in tracks if len(t) >= MIN_FRAMES), key=len, reverse=True)[:3]
    for number, track in enumerate(long):
        boxes = np.array([box for _, box in track])
        width = float(np.median(boxes[:, 2] - boxes[:, 0]))
        height, across = frames[0].shape[:2]
        left = max(0, int(boxes[:, 0].min() - SIDE * width))
        top = max(0, int(boxes[:, 1].min() - ABOVE * width))
        right = min(across, int(boxes[:, 2].max() + SIDE * width))
        bottom = min(height, int(boxes[:, 3].max() + BELOW * width))
        found[f"frames{number}"] = np.stack([frames[index][top:bottom, left:right] for index, _ in track])
        shift = np.array([left, top, left, top])
        found[f"boxes{number}"] = boxes - shift
        found[f"others{number}"] = np.array(
            [
                (row, *(np.array(box) - shift))
                for row, (index, own) in enumerate(track)
                for box in every[index]
                if box != own
            ]
        ).reshape(-1, 5)
    return found


def _box(values: Sequence[float]) -> Box:
    x1, y1, x2, y2 = (float(value) for value in values)
    return (x1, y1, x2, y2)


def _soft_edge(height: int, width: int) -> NDArray[np.float32]:
    """Opaque inside, transparent at the left, right and upper edges."""
    edge = max(2, min(height, width) // 10)
    alpha = np.zeros((height, width), np.float32)
    alpha[edge // 2 :, edge // 2 : width - edge // 2] = 1
    return np.asarray(cv2.blur(alpha, (edge, edge), borderType=cv2.BORDER_REPLICATE), np.float32)[..., None]
