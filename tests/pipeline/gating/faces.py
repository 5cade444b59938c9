"""Scored faces and frames made up for tests of the gate."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facegate.pipeline.gating.gate import Decision, GatePolicy
from facegate.pipeline.gating.limits import GateSettings
from facegate.pipeline.gating.policies import RecentPeople
from facegate.pipeline.records import (
    Detection,
    Face,
    FrameRef,
    Outcome,
    QualityInfo,
    Reason,
    ScoredFace,
    ScoredFrame,
)
from facegate.pipeline.tracking.identity import IdentityThresholds
from facegate.pipeline.tracking.identity_switches import IdentitySwitchGuard

INFO = QualityInfo(algorithm="a", model="m", calibration="c")
CROP = np.zeros((112, 112, 3), np.uint8)
FRONTAL = np.array([[38, 52], [74, 52], [56, 72], [42, 92], [71, 92]], np.float32)
SIDE = np.array([[38, 52], [74, 52], [78, 72], [50, 92], [74, 92]], np.float32)


def unit(*values: float) -> NDArray[np.float32]:
    array = np.array(values, np.float32)
    return array / np.float32(np.linalg.norm(array))


ANN, BOB, EVE = unit(1, 0, 0, 0.05), unit(0, 1, 0, 0.05), unit(0, 0, 1, 0.05)


def seen(
    seq: int,
    track: int,
    quality: int,
    *,
    pts_s: float | None = None,
    who: NDArray[np.float32] | None = None,
    box: tuple[float, float, float, float] = (100, 100, 180, 190),
    points: NDArray[np.float32] = FRONTAL,
    camera: str = "cam",
    confidence: float = 0.9,
) -> ScoredFace:
    at = seq / 10 if pts_s is None else pts_s
    ref = FrameRef(camera, seq, at, at, None, 640, 480)
    face = Face(f"{seq}-{track}", ref, Detection(box, confidence, points), CROP)
    return ScoredFace(face, track, quality, quality / 100, np.zeros(4, np.float32), who)


def frame(seq: int, *faces: ScoredFace, ended: tuple[int, ...] = (), pts_s: float | None = None) -> ScoredFrame:
    at = seq / 10 if pts_s is None else pts_s
    return ScoredFrame(FrameRef("cam", seq, at, at, None, 640, 480), faces, ended)


def make(recent: RecentPeople | None = None, group: RecentPeople | None = None, **settings_: Any) -> GatePolicy:
    return GatePolicy("run", "cam", GateSettings(**settings_), INFO, recent=recent, group=group)


def fates(decisions: list[Decision]) -> list[Outcome]:
    return [decision.outcome for decision in decisions]


def shots(decisions: list[Decision]) -> list[tuple[int, Reason]]:
    return [(d.shot.quality, d.shot.reason) for d in decisions if d.shot is not None]


def guard(merge_s: float = 0.0) -> IdentitySwitchGuard:
    return IdentitySwitchGuard(IdentityThresholds(split_below=0.3, same_above=0.6), reliable=20, merge_s=merge_s)
