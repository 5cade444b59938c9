"""Makes the demo's clip and gallery from the photographs inside the ``insightface`` package.

A camera pans and zooms over a group picture of six people; another person's portrait is shown at the end. The
picture gets the defects of cameras: motion blur while panning, sensor noise, drifting exposure, compression. Four
of the six are enrolled. The camera's position is known at every instant, and so is the identity of each face.
"""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path

import av
import cv2
import msgspec
import numpy as np

from facegate.detectors.base import load_detector
from facegate.extras import require
from facegate.pipeline.images import read_image, write_png
from facegate.pipeline.records import Box, Image, contiguous

FPS = 25
WIDTH, HEIGHT = 640, 360
ENROLLED = (0, 2, 3, 5)
"""Positions from left to right in the group picture; the other two and the portrait are distractors."""
PORTRAIT = "distractor-portrait"
PORTRAIT_S = 2.0

# Seconds, center x and y as a share of the picture, and how many picture pixels the frame is wide.
_PATH = (
    (0.0, 0.18, 0.36, 620),
    (2.0, 0.22, 0.36, 560),
    (4.0, 0.45, 0.40, 700),
    (6.0, 0.62, 0.42, 640),
    (8.0, 0.80, 0.30, 700),
    (10.0, 0.84, 0.30, 560),
)


class DemoPerson(msgspec.Struct, frozen=True):
    """A person in the clip, with the face box in the group picture (``None`` for the portrait)."""

    name: str
    enrolled: bool
    box: Box | None


class DemoClip(msgspec.Struct, frozen=True):
    """The clip, the gallery, and the ground truth."""

    path: Path
    gallery: Path
    people: tuple[DemoPerson, ...]
    frames: int
    picture_size: tuple[int, int]

    def who(self, pts_s: float, box: Box) -> str | None:
        """Return the name of the person whose face is at ``box`` (frame pixels) at ``pts_s``."""
        if pts_s >= _PATH[-1][0]:
            return PORTRAIT
        matrix = _camera(pts_s, self.picture_size)
        center = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
        x, y = cv2.invertAffineTransform(matrix) @ np.append(center, 1.0)
        for person in self.people:
            if person.box and person.box[0] <= x <= person.box[2] and person.box[1] <= y <= person.box[3]:
                return person.name
        return None


def make_clip(folder: Path, seed: int = 7) -> DemoClip:
    """Write ``clip.mp4`` (H.264) and ``gallery/<name>/1.png`` into ``folder``.

    Raises:
        ModelError: the photographs of the ``insightface`` package are missing.
    """
    picture, portrait = _photographs()
    people = _people(picture)
    gallery = folder / "gallery"
    for person in people:
        if person.enrolled and person.box is not None:
            target = gallery / person.name
            target.mkdir(parents=True)
            write_png(target / "1.png", contiguous(_surroundings(picture, person.box)))
    path = folder / "clip.mp4"
    frames = _film(path, picture, portrait, np.random.default_rng(seed))
    size = (picture.shape[1], picture.shape[0])
    return DemoClip(path=path, gallery=gallery, people=people, frames=frames, picture_size=size)


def _photographs() -> tuple[Image, Image]:
    require("demo", "the demo, for its photographs,")
    spec = importlib.util.find_spec("insightface")
    assert spec is not None and spec.submodule_search_locations
    images = Path(spec.submodule_search_locations[0]) / "data" / "images"
    return read_image(images / "t1.jpg"), read_image(images / "Tom_Hanks_54745.png")


def _people(picture: Image) -> tuple[DemoPerson, ...]:
    faces = sorted(load_detector("mtcnn", max_side=1280).detect([picture])[0], key=lambda face: face.box[0])
    group = tuple(
        DemoPerson(
            name=f"guest-{index + 1}" if index in ENROLLED else f"distractor-{index + 1}",
            enrolled=index in ENROLLED,
            box=face.box,
        )
        for index, face in enumerate(faces)
    )
    return (*group, DemoPerson(name=PORTRAIT, enrolled=False, box=None))


def _surroundings(picture: Image, box: Box) -> Image:
    """A face with half its size of margin all around."""
    margin_x, margin_y = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
    x1, y1 = max(0, int(box[0] - margin_x)), max(0, int(box[1] - margin_y))
    return picture[y1 : int(box[3] + margin_y), x1 : int(box[2] + margin_x)]


def _camera(pts_s: float, picture_size: tuple[int, int]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return the ``(2, 3)`` map from picture to frame pixels at ``pts_s``, eased between the points of the path."""
    times = [station[0] for station in _PATH]
    index = int(np.clip(np.searchsorted(times, pts_s, side="right") - 1, 0, len(_PATH) - 2))
    start, end = _PATH[index], _PATH[index + 1]
    share = np.clip((pts_s - start[0]) / (end[0] - start[0]), 0.0, 1.0)
    eased = share * share * (3 - 2 * share)
    x, y, width = (start[i] + (end[i] - start[i]) * eased for i in (1, 2, 3))
    scale = WIDTH / width
    center_x, center_y = x * picture_size[0], y * picture_size[1]
    return np.array([[scale, 0, WIDTH / 2 - scale * center_x], [0, scale, HEIGHT / 2 - scale * center_y]])


def _film(path: Path, picture: Image, portrait: Image, rng: np.random.Generator) -> int:
    size = (picture.shape[1], picture.shape[0])
    moving = int(_PATH[-1][0] * FPS)
    total = moving + int(PORTRAIT_S * FPS)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "26", "g": "25"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.max_b_frames = 0
        stream.codec_context.time_base = Fraction(1, FPS)
        for index in range(total):
            clean = (
                _group_frame(picture, index, size) if index < moving else _portrait_frame(portrait, index - moving)
            )
            frame = av.VideoFrame.from_ndarray(_expose(clean, index, rng), format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return total


def _group_frame(picture: Image, index: int, size: tuple[int, int]) -> Image:
    """Average a few instants within the exposure: motion blur as a shutter makes it."""
    instants = [index / FPS + part / FPS * 0.8 for part in (0.0, 0.25, 0.5, 0.75)]
    views = [
        cv2.warpAffine(picture, _camera(t, size), (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT).astype(np.float32)
        for t in instants
    ]
    blended: Image = np.rint(np.mean(views, axis=0)).astype(np.uint8)
    return blended


def _portrait_frame(portrait: Image, index: int) -> Image:
    """The portrait drifting over a plain wall, slowly growing."""
    side = 170 + index
    frame = np.full((HEIGHT, WIDTH, 3), (172, 164, 150), dtype=np.uint8)
    x, y = 180 + index * 2, 70
    frame[y : y + side, x : x + side] = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_CUBIC)
    return frame


def _expose(image: Image, index: int, rng: np.random.Generator) -> Image:
    """Apply a slowly drifting exposure with one dip; noise grows in the dark."""
    seconds = index / FPS
    dip = 0.55 * np.exp(-(((seconds - 5.0) / 0.5) ** 2))
    light = 1.0 + 0.12 * np.sin(seconds * 1.3) - dip
    noisy = image.astype(np.float32) * light + rng.normal(0.0, 4.0 + 6.0 * dip, image.shape)
    exposed: Image = np.clip(noisy, 0, 255).astype(np.uint8)
    return exposed
