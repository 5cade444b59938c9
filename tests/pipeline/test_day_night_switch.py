"""A camera that switches between color and gray loses nobody for longer than a second."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from facegate.demo.clip import DemoClip
from facegate.pipeline.gating.gate import Decision
from facegate.pipeline.runner import Runner
from facegate.pipeline.watch import ShotQueue

from .life import config

SWITCHES_S = (2.5, 5.0, 7.5)
FPS = 5.0


def switching(source: Path, target: Path, switches_s: tuple[float, ...]) -> Path:
    """The clip, gray, brighter and noisy between every other pair of switches."""
    rng = np.random.default_rng(0)
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        out = writer.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "23"})
        out.width, out.height, out.pix_fmt = 640, 360, "yuv420p"
        for index, picture in enumerate(reader.decode(video=0)):
            image = picture.reformat(640, 360, "rgb24").to_ndarray()
            if sum(index / 25 >= at for at in switches_s) % 2:
                night = 255 * (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) / 255.0) ** 0.7
                noisy = np.clip(night + rng.normal(0, 6, night.shape), 0, 255).astype(np.uint8)
                image = cv2.cvtColor(noisy, cv2.COLOR_GRAY2RGB)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            writer.mux(out.encode(frame))
        writer.mux(out.encode())
    return target


def faces(source: Path, weights: Path) -> list[tuple[float, float, float]]:
    """Time and center of every face that is tracked."""
    settings = config(str(source), weights=weights)
    camera = settings.cameras[0].model_copy(update={"max_fps": FPS})
    seen: list[tuple[float, float, float]] = []

    def on_decision(decision: Decision) -> None:
        left, top, right, bottom = decision.face.face.detection.box
        seen.append((decision.face.face.frame.pts_s, (left + right) / 2, (top + bottom) / 2))

    queue = ShotQueue()
    updated = settings.model_copy(update={"cameras": (camera,)})
    with Runner(updated, lambda: queue, on_decision=on_decision, on_finished=queue.end) as runner:
        for _ in queue:
            pass
        runner.close(linger_s=0)
    return seen


def test_nobody_is_lost_for_longer_than_a_second_at_a_switch(
    clip: DemoClip, tiny_model: Path, tmp_path: Path
) -> None:
    alone = [
        faces(switching(clip.path, tmp_path / name, switches), tiny_model)
        for name, switches in (("day.mp4", ()), ("night.mp4", (0.0,)))
    ]
    seen = faces(switching(clip.path, tmp_path / "both.mp4", SWITCHES_S), tiny_model)
    present = 0
    for number, at in enumerate(SWITCHES_S):
        mode = alone[(number + 1) % 2]
        expected = [(x, y) for pts_s, x, y in mode if at + 0.6 <= pts_s <= at + 1.0]
        found = [(x, y) for pts_s, x, y in seen if at <= pts_s <= at + 1.0]
        for x, y in expected:
            present += 1
            assert any(np.hypot(x - other_x, y - other_y) < 60 for other_x, other_y in found), (at, x, y)
    assert present > 10
