"""Calibration of a camera's threshold from unlabeled footage, and comparison of scores on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.evaluation.savings import Observer
from facegate.pipeline.gating.factory import CameraGates
from facegate.pipeline.gating.recall_threshold import RecallLoss, RecallState

SHARES = tuple(round(0.05 * step, 2) for step in range(19))
"""Fractions of all faces discarded."""


class PolicyReplay(msgspec.Struct, frozen=True):
    """Result of a gate on the footage."""

    min_quality: int
    fr_calls: int
    visits: int
    """Visits that got a name."""


class HourSummary(msgspec.Struct, frozen=True):
    """Result for one hour of the day."""

    hour: int
    """0 to 23."""
    faces: int
    fr_calls: int
    """With the chosen threshold."""
    named_at_floor: int
    """Visits begun in this hour that got a name with the threshold at its floor."""
    named: int
    """The same with the chosen threshold."""


class CameraCalibration(msgspec.Struct, frozen=True):
    """Calibration of one camera."""

    camera: str
    faces: int
    tracks: int
    floor: PolicyReplay
    """With the threshold at its floor."""
    chosen: PolicyReplay
    """With the threshold for the target recall; the floor if there are too few samples."""
    loss: RecallLoss
    """Recall loss of the chosen threshold."""
    curves: dict[str, tuple[float, ...]]
    """For each score, the fraction of the remaining faces without their track's name, when the worst :data:`SHARES`
    are discarded."""
    hours: tuple[HourSummary, ...] = ()
    """In the order of the footage; empty if its start is unknown."""


class CalibrationReport(msgspec.Struct, frozen=True):
    """Result of ``facegate calibrate``."""

    recognizer: str
    rule: str
    keep: float
    shares: tuple[float, ...]
    cameras: tuple[CameraCalibration, ...]


def calibrate(
    observer: Observer, learning: CameraGates, fixed: Callable[[int], CameraGates], began_s: int | None = None
) -> tuple[CameraCalibration, RecallState]:
    """Choose the threshold of the camera seen by ``observer``; return it with the state its gate can start from.

    Args:
        observer: observer of the footage.
        learning: a gate with ``target_recall`` that learns at its floor.
        fixed: returns a gate with a fixed ``min_quality``.
        began_s: start of the footage, seconds after midnight; without it there is no summary by hour.
    """
    observer.decide(learning)
    curves = discard_curves(observer)
    ((camera, decider),) = learning.cameras.items()
    recall = decider.gate.recall
    assert recall is not None, "the gate has no target_recall"
    floor, wanted = played(observer, recall.floor), recall.target_threshold()
    at_floor = _named(observer)
    observer.decide(fixed(wanted))
    found = CameraCalibration(
        camera=camera,
        faces=len(observer.faces),
        tracks=len({face.track_id for face in observer.faces.values()}),
        floor=floor,
        chosen=played(observer, wanted),
        loss=recall.loss(wanted),
        curves=curves,
        hours=() if began_s is None else _hours(observer, at_floor, began_s),
    )
    return found, msgspec.structs.replace(recall.state(), threshold=wanted)


def played(observer: Observer, min_quality: int) -> PolicyReplay:
    """Count the last decisions."""
    return PolicyReplay(min_quality, len(observer.sent), len(_named(observer)))


def _named(observer: Observer) -> dict[int, float]:
    """Start times of the named visits, by track."""
    ended = (event for event in observer.events if event.event == "ended" and event.name is not None)
    return {event.track_id: event.first_pts_s for event in ended}


def _hours(observer: Observer, at_floor: dict[int, float], began_s: int) -> tuple[HourSummary, ...]:
    def count(times: Iterable[float]) -> Counter[int]:
        return Counter(int((began_s + at) // 3600) for at in times)

    faces = count(face.pts_s for face in observer.faces.values())
    calls = count(sent.at for sent in observer.sent)
    floor, named = count(at_floor.values()), count(_named(observer).values())
    every = sorted(faces.keys() | calls.keys())
    return tuple(HourSummary(at % 24, faces[at], calls[at], floor[at], named[at]) for at in every)


def discard_curves(observer: Observer) -> dict[str, tuple[float, ...]]:
    """Error-versus-discard curve of each score, over the faces of tracks with a named face."""
    names: dict[int, list[str]] = {}
    for face in observer.faces.values():
        if face.name is not None:
            names.setdefault(face.track_id, []).append(face.name)
    usual = {track: max(sorted(set(found)), key=found.count) for track, found in names.items()}
    faces = [face for face in observer.faces.values() if face.track_id in usual and face.face_id in observer.scores]
    if not faces:
        return {}
    wrong = np.array([face.name != usual[face.track_id] for face in faces], np.float64)
    values = {
        "ViTNT-FIQA": [observer.scores[face.face_id].raw_score for face in faces],
        "rank score (path and length)": [observer.scores[face.face_id].rank[0] for face in faces],
        "sharpness": [face.sharpness for face in faces],
        "size": [face.width for face in faces],
    }
    return {name: _curve(np.array(value), wrong) for name, value in values.items()}


def _curve(score: NDArray[np.float64], wrong: NDArray[np.float64]) -> tuple[float, ...]:
    kept = wrong[np.argsort(score, kind="stable")]
    return tuple(round(float(kept[int(share * len(kept)) :].mean()), 4) for share in SHARES)


def plot(found: CalibrationReport, path: Path) -> None:
    """Draw each camera's curves."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    drawn = [camera for camera in found.cameras if camera.curves]
    figure, axes = plt.subplots(1, max(len(drawn), 1), figsize=(4.6 * max(len(drawn), 1), 3.8), squeeze=False)
    for axis, camera in zip(axes[0], drawn, strict=False):
        for name, curve in camera.curves.items():
            axis.plot(found.shares, curve, label=name)
        axis.set_title(camera.camera, fontsize=11)
        axis.set_xlabel("fraction of faces discarded")
        axis.set_ylabel("unrecognized fraction of the rest")
        axis.set_ylim(0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
