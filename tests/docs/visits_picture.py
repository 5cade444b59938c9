"""Makes docs/guide/visits.png: the Visits page with generated faces, which show nobody.

    python -m tests.docs.visits_picture pool-open112.zip

The faces are those of the archive's folder ``generated``: Stable Diffusion 3, CC0 1.0, from the repository
faker-js/assets-person-portrait. The built-in model scores them. Needs Chromium.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from time import time

import cv2
import msgspec
import numpy as np
from playwright.sync_api import sync_playwright

from facegate.pipeline.images import decode_image
from facegate.pipeline.records import (
    Detection,
    Face,
    FrameRef,
    Image,
    QualityInfo,
    Reason,
    ScoredFace,
    Shot,
    make_shot_id,
)
from facegate.scoring.engine import load_scorer
from facegate.sinks import wire
from facegate.sinks.wire import EncodedShot
from facegate.store.records import VisitUpdate
from facegate.store.writer import StoreWriter

from ..console.serving import served

TARGET = Path(__file__).parents[2] / "docs" / "guide" / "visits.png"
NAMES = (
    "Adam",
    None,
    "Beth",
    None,
    "Chloe",
    None,
    None,
    "Dan",
    "Adam",
    None,
    None,
    "Emil",
    None,
    "Beth",
    None,
    "Fay",
)
"""Names of the visits, newest first. One face for each name; unknown visitors are different people."""
CAMERAS = ("door", "hall", "yard")
SIZE = {"width": 1280, "height": 640}


def faces(archive: Path) -> list[Image]:
    """A face for each visit; every third one is as a camera sees it: dark or blurred."""
    with zipfile.ZipFile(archive) as pool:
        names = sorted(name for name in pool.namelist() if name.startswith("generated/") and name.endswith(".webp"))
        pictures = [decode_image(pool.read(name), name) for name in names[: len(NAMES)]]
    shown: dict[str, Image] = {}
    found = []
    for index, (name, picture) in enumerate(zip(NAMES, pictures, strict=True)):
        face = picture if name is None else shown.setdefault(name, picture)
        if index % 3 == 1:
            face = cv2.GaussianBlur(face, (0, 0), 1.0 + index / 8).astype(np.uint8)
        elif index % 3 == 2:
            face = (face * 0.6).astype(np.uint8)
        found.append(face)
    return found


def entry(index: int, crop: Image, quality: int, at: float) -> EncodedShot:
    """The shot of a visit."""
    ref = FrameRef(CAMERAS[index % 3], index, float(index), 0.0, None, 1280, 720)
    face = Face(f"{index}-0", ref, Detection((0, 0, 90, 110), 1.0, np.zeros((5, 2), np.float32)), crop)
    scored = ScoredFace(face, index, quality, quality / 100, np.zeros(64, np.float32), None)
    shot_id = make_shot_id("run", ref.camera, index, face.face_id)
    info = QualityInfo("vitnt-fiqa", "facegate-mobile-s", "1")
    packed = wire.pack(Shot(shot_id, "run", ref.camera, index, 1, Reason.TRACK_ENDED, scored, info))
    header = msgspec.structs.replace(wire.decode_header(packed.header), received_at=at)
    return msgspec.structs.replace(packed, header=wire.encode(header))


def main() -> None:
    """Fill a store, show it, and take the picture."""
    crops = faces(Path(sys.argv[1]))
    scores = load_scorer().score(np.stack(crops), embedding=False)
    now = time()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        with StoreWriter(data / "store.db", create=True) as store:
            for index in reversed(range(len(NAMES))):  # the newest last
                at, name = now - 20 - 47 * index, NAMES[index]
                store.add_shots([entry(index, crops[index], int(scores.quality[index]), at)])
                visit, similarity = (
                    f"run/{CAMERAS[index % 3]}/{index}",
                    0.08 + index % 7 / 100 if name is None else 0.68 + index / 100,
                )
                rate = None if name is None else 1e-4
                store.update_visits(
                    [VisitUpdate(visit, CAMERAS[index % 3], index, name, similarity, 0.3, rate, at, "ended")]
                )
        with served(data) as console, sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = chromium.new_page(viewport=SIZE, color_scheme="light")
            page.goto(f"{console.url}/visits")
            page.wait_for_function(f"document.querySelectorAll('img').length >= {len(NAMES)}")
            page.wait_for_load_state("networkidle")
            page.screenshot(path=TARGET)
            chromium.close()


if __name__ == "__main__":
    main()
