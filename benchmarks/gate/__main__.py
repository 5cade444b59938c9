"""How many observations per second guard and gate decide on one core, in processor time.

python -m benchmarks.gate
"""

from __future__ import annotations

import statistics
from time import process_time

import numpy as np

from benchmarks.host_info import cpu
from facegate.pipeline.gating.gate import GatePolicy
from facegate.pipeline.gating.limits import GateSettings
from facegate.pipeline.records import Detection, Face, FrameRef, QualityInfo, ScoredFace, ScoredFrame
from facegate.pipeline.tracking.identity import IdentityThresholds
from facegate.pipeline.tracking.identity_switches import IdentitySwitchGuard

FRAMES, FACES, TRACK_FRAMES = 4000, 10, 75


def stream(embeddings: bool) -> list[ScoredFrame]:
    """Ten people in view at any time, each for three seconds."""
    rng = np.random.default_rng(0)
    crop = np.zeros((112, 112, 3), np.uint8)
    points = np.array([[38, 52], [74, 52], [56, 72], [42, 92], [71, 92]], np.float32)
    patches = np.zeros(49, np.float32)
    frames = []
    person = rng.normal(size=(FACES, 128)).astype(np.float32)
    for seq in range(FRAMES):
        ref = FrameRef("cam", seq, seq / 25, seq / 25, None, 1920, 1080)
        generation = seq // TRACK_FRAMES
        if seq % TRACK_FRAMES == 0:
            person = rng.normal(size=(FACES, 128)).astype(np.float32)
        qualities = rng.integers(0, 101, FACES)
        faces = tuple(
            ScoredFace(
                Face(f"{seq}-{i}", ref, Detection((100.0, 100.0, 180.0, 190.0), 0.9, points), crop),
                generation * FACES + i,
                int(qualities[i]),
                0.5,
                patches,
                person[i] if embeddings else None,
            )
            for i in range(FACES)
        )
        ended = tuple(range((generation - 1) * FACES, generation * FACES)) if seq and not seq % TRACK_FRAMES else ()
        frames.append(ScoredFrame(ref, faces, ended))
    return frames


def main() -> None:
    info = QualityInfo(algorithm="a", model="m", calibration="c")
    print(cpu())
    for what, embeddings, people in (
        ("gate", False, None),
        ("purity guard and gate", True, IdentityThresholds(split_below=0.1, same_above=0.5)),
    ):
        frames = stream(embeddings)
        rates = []
        for _ in range(5):
            guard = IdentitySwitchGuard(people, reliable=10)
            gate = GatePolicy("run", "cam", GateSettings(), info)
            started = process_time()
            for frame in frames:
                gate.step(guard.step(frame) if people else frame)
            rates.append(FRAMES * FACES / (process_time() - started))
        print(f"{what:24s} {statistics.median(rates):10,.0f} observations/s")


if __name__ == "__main__":
    main()
