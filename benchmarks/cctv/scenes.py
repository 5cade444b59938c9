"""Scenes of ordinary cameras: small people in large pictures, before backgrounds that move or do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.cctv.people import SAMPLE_FPS, Cutout
from facegate.pipeline.records import Box, Image

SIZES = {"360p": (640, 360), "1080p": (1920, 1080), "4MP": (2560, 1440), "4K": (3840, 2160)}
BACKGROUNDS = ("quiet", "trees", "rain", "night", "pumping", "light")
SENSOR_NOISE = {"night": 7.0}
DEFAULT_NOISE = 2.0
KEY_FRAME_EVERY = 10
"""Frames between two key frames of the scene whose compression pumps."""


@dataclass(frozen=True)
class Scene:
    """What is composed; the same scene gives the same frames."""

    name: str
    size: str
    people: int
    background: str = "quiet"
    motion: str = "walking"
    """``walking``, ``sitting`` (each moves in place as in the clip) or ``still`` (each a still picture)."""
    faces_px: tuple[float, float] = (24.0, 90.0)
    """Widths of the faces; spread evenly on a logarithmic scale."""
    seconds: float = 8.0
    appear_s: float = 0.0
    """Moment at which the people appear."""

    @property
    def frames(self) -> int:
        """Number of frames, at five a second."""
        return round(self.seconds * SAMPLE_FPS)


@dataclass(frozen=True)
class SceneFrame:
    """One frame and the true places of the faces in it."""

    pts_s: float
    image: Image
    faces: dict[int, Box]
    """By number of the person; only faces that lie in the picture as a whole."""
    others: list[Box]
    """Faces of bystanders and those cut off by the picture's edge."""


@dataclass
class _Actor:
    person: Cutout
    scale: float
    x: float
    y: float
    speed: float
    first: int
    body: NDArray[np.uint8]
    pictures: dict[int, tuple[Image, NDArray[np.float32]]] = field(default_factory=dict)

    def frame(self, number: int) -> int:
        """Index of the clip's frame: forward, then backward."""
        count = len(self.person.frames)
        place = (self.first + number) % max(1, 2 * count - 2)
        return place if place < count else 2 * count - 2 - place

    def picture(self, index: int) -> tuple[Image, NDArray[np.float32]]:
        if index not in self.pictures:
            frame = self.person.frames[index]
            size = max(8, round(frame.shape[1] * self.scale)), max(8, round(frame.shape[0] * self.scale))
            way = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_CUBIC
            alpha = cv2.resize(self.person.alpha, size, interpolation=cv2.INTER_LINEAR)[..., None]
            self.pictures[index] = (np.asarray(cv2.resize(frame, size, interpolation=way), np.uint8), alpha)
        return self.pictures[index]


def play(scene: Scene, people: Sequence[Cutout]) -> Iterator[SceneFrame]:
    """Compose the frames of a scene."""
    width, height = SIZES[scene.size]
    rng = np.random.default_rng(abs(hash_of(scene.name)))
    base = _background(width, height, rng)
    actors = _actors(scene, people, width, height, rng)
    noise = _noise(SENSOR_NOISE.get(scene.background, DEFAULT_NOISE), rng)
    for number in range(scene.frames):
        pts_s = number / SAMPLE_FPS
        image = base.copy()
        if scene.background == "trees":
            _sway(image, base, pts_s)
        faces: dict[int, Box] = {}
        others: list[Box] = []
        if pts_s >= scene.appear_s:
            for index, actor in enumerate(actors):
                box, beside = _paste(image, actor, scene.motion, number, pts_s)
                others += beside
                if box[0] >= 2 and box[1] >= 2 and box[2] <= width - 2 and box[3] <= height - 2:
                    faces[index] = box
                else:
                    others.append(box)
        image = _weather(image, scene.background, number, rng)
        yield SceneFrame(pts_s, _add_noise(image, noise, rng), faces, others)


def hash_of(name: str) -> int:
    """A number that is the same in every process, unlike ``hash``."""
    return int.from_bytes(name.encode()[-7:].rjust(7, b"."), "big")


def _actors(
    scene: Scene, people: Sequence[Cutout], width: int, height: int, rng: np.random.Generator
) -> list[_Actor]:
    """Give each person a size and a place of its own; places of a grid, so that hardly anybody hides another."""
    low, high = scene.faces_px
    sizes = np.geomspace(low, high, scene.people) if scene.people > 1 else np.array([np.sqrt(low * high)])
    columns = max(1, int(np.ceil(np.sqrt(scene.people * width / height))))
    rows = max(1, -(-scene.people // columns))
    places = [(row, column) for row in range(rows) for column in range(columns)]
    rng.shuffle(places)
    actors = []
    first_person = int(rng.integers(len(people)))
    for index in range(scene.people):
        person = people[(first_person + index) % len(people)]
        scale = float(sizes[index]) / person.width
        row, column = places[index]
        cell_w, cell_h = width / columns, height / rows
        across, down = person.frames[0].shape[1] * scale, person.frames[0].shape[0] * scale
        x = column * cell_w + rng.uniform(0.1, 0.9) * max(0.0, cell_w - across)
        y = row * cell_h + rng.uniform(0.05, 0.5) * max(0.0, cell_h - down)
        speed = float(sizes[index]) * float(rng.uniform(0.8, 1.6)) * float(rng.choice((-1, 1)))
        color = rng.integers(40, 190, (6, 4, 3)).astype(np.uint8)
        body = cv2.resize(
            color, (max(4, round(across * 0.6)), max(4, round(down * 1.2))), interpolation=cv2.INTER_LINEAR
        )
        first = int(rng.integers(len(person.frames)))
        actors.append(_Actor(person, scale, x, y, speed, first, np.asarray(body, np.uint8)))
    return sorted(actors, key=lambda actor: actor.y)


def _paste(image: Image, actor: _Actor, motion: str, number: int, pts_s: float) -> tuple[Box, list[Box]]:
    """Paste a person and return the place of the face, and those of bystanders."""
    height, width = image.shape[:2]
    index = actor.first if motion == "still" else actor.frame(number)
    picture, alpha = actor.picture(index)
    x = actor.x
    if motion == "walking":  # to and fro across the picture
        way = max(1.0, width - picture.shape[1])
        x = (actor.x + actor.speed * pts_s) % (2 * way)
        x = x if x <= way else 2 * way - x
    left, top = round(x), round(actor.y)
    feet = top + picture.shape[0]
    body = actor.body[: max(0, height - feet)]
    if len(body) and motion == "walking":
        at = max(0, left + (picture.shape[1] - body.shape[1]) // 2)
        image[feet : feet + len(body), at : at + body.shape[1]] = body[:, : max(0, width - at)]
    part = image[top : top + picture.shape[0], left : left + picture.shape[1]]
    rows, columns = part.shape[:2]
    mix = alpha[:rows, :columns]
    part[:] = (part * (1 - mix) + picture[:rows, :columns] * mix).astype(np.uint8)
    own, *beside = (
        (left + x1 * actor.scale, top + y1 * actor.scale, left + x2 * actor.scale, top + y2 * actor.scale)
        for x1, y1, x2, y2 in (actor.person.boxes[index], *actor.person.others[index])
    )
    return own, beside


def _background(width: int, height: int, rng: np.random.Generator) -> Image:
    """Walls, windows, furniture and texture of several scales."""
    image = np.full((height, width, 3), 110, np.float32)
    for cells, strength in ((6, 40), (24, 18), (96, 10), (400, 7)):
        field_ = rng.normal(0, strength, (max(2, cells * height // width), cells, 1)) * rng.uniform(0.8, 1.2, 3)
        image += cv2.resize(field_.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(60):
        x, y = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        w, h = int(rng.uniform(0.01, 0.12) * width), int(rng.uniform(0.02, 0.25) * height)
        image[y : y + h, x : x + w] += rng.normal(0, 35, 3)
        cv2.rectangle(image, (x, y), (x + w, y + h), rng.uniform(20, 200, 3).tolist(), int(rng.integers(1, 4)))
    return np.clip(image, 0, 255).astype(np.uint8)


def _sway(image: Image, base: Image, pts_s: float) -> None:
    """Two fifths of the picture sway as trees do, with contrast."""
    height, width = image.shape[:2]
    for number, (left, right) in enumerate(((0.0, 0.2), (0.55, 0.75))):
        x1, x2 = int(left * width), int(right * width)
        rows = np.arange(height)
        bend = width / 300 * np.sin(2.2 * pts_s + rows / height * 9 + number) * (1 - rows / height + 0.2)
        columns = np.arange(x1, x2)[None, :] + bend[:, None]
        leaf = 25 * np.sin(columns / 7) * np.sin(rows[:, None] / 5 + columns / 23)
        map_x, map_y = columns.astype(np.float32), np.repeat(rows[:, None], x2 - x1, 1).astype(np.float32)
        moved = cv2.remap(base, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        image[:, x1:x2] = np.clip(moved + leaf[..., None], 0, 255).astype(np.uint8)


def _weather(image: Image, background: str, number: int, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    if background == "rain":
        for _ in range(400):
            x, y, length = (
                int(rng.uniform(0, width)),
                int(rng.uniform(0, height)),
                height / 25 * rng.uniform(0.5, 1),
            )
            end = (int(x + length * 0.15), int(y + length))
            cv2.line(image, (x, y), end, (190, 190, 195), max(1, width // 1500), cv2.LINE_AA)
    elif background == "night":
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return np.repeat((gray * 0.45 + 8).astype(np.uint8)[..., None], 3, 2)
    elif background == "pumping":
        quality = 75 if number % KEY_FRAME_EVERY == 0 else 28 + 3 * (number % KEY_FRAME_EVERY)
        coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    elif background == "light" and number % 20 >= 10:
        return np.asarray(cv2.convertScaleAbs(image, alpha=0.7, beta=5), np.uint8)
    return image


def _noise(sigma: float, rng: np.random.Generator) -> list[NDArray[np.int16]]:
    return [np.rint(rng.normal(0, sigma, (540, 960, 3))).astype(np.int16) for _ in range(4)]


def _add_noise(image: Image, noise: list[NDArray[np.int16]], rng: np.random.Generator) -> Image:
    """Add a camera's noise, made of a few tiles."""
    for y in range(0, image.shape[0], 540):
        for x in range(0, image.shape[1], 960):
            part = image[y : y + 540, x : x + 960]
            tile = noise[int(rng.integers(len(noise)))]
            flip = slice(None, None, int(rng.choice((-1, 1))))
            part[:] = cv2.add(part.astype(np.int16), tile[flip][: part.shape[0], : part.shape[1]]).clip(0, 255)
    return image
