"""What a threshold would cost on a camera, and which score finds its good faces: from footage without labels."""

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
"""Discarded, of all faces."""


class PolicyReplay(msgspec.Struct, frozen=True):
    """What a gate did with the footage."""

    min_quality: int
    fr_calls: int
    visits: int
    """That got a name."""


class HourSummary(msgspec.Struct, frozen=True):
    """What the footage of one hour of the day came to."""

    hour: int
    """0 to 23."""
    faces: int
    fr_calls: int
    """With the chosen threshold."""
    named_at_floor: int
    """Visits that began in it and got a name with the threshold at its floor."""
    named: int
    """And with the chosen one."""


class CameraCalibration(msgspec.Struct, frozen=True):
    """One camera's."""

    camera: str
    faces: int
    tracks: int
    floor: PolicyReplay
    """With the threshold at its floor."""
    chosen: PolicyReplay
    """With the one that keeps what is asked for; the floor where the evidence is too thin."""
    loss: RecallLoss
    """Of the chosen one."""
    curves: dict[str, tuple[float, ...]]
    """For each score, the share of faces without their track's name among those that are left when the worst
    :data:`SHARES` of them are discarded."""
    hours: tuple[HourSummary, ...] = ()
    """In the footage's order, where it is known when that began."""


class CalibrationReport(msgspec.Struct, frozen=True):
    """What ``facegate calibrate`` found."""

    recognizer: str
    rule: str
    keep: float
    shares: tuple[float, ...]
    cameras: tuple[CameraCalibration, ...]


def calibrate(
    observer: Observer, learning: CameraGates, fixed: Callable[[int], CameraGates], began_s: int | None = None
) -> tuple[CameraCalibration, RecallState]:
    """Find the threshold of the one camera that ``observer`` has seen; also what its gate may begin with.

    Args:
        observer: has seen the footage.
        learning: a gate with ``keep`` that learns at its floor.
        fixed: makes one with that ``min_quality``.
        began_s: seconds after midnight at which the footage began; without it nothing is told by the hour.
    """
    observer.decide(learning)
    curves = discard_curves(observer)
    ((camera, decider),) = learning.cameras.items()
    keeping = decider.gate.recall
    assert keeping is not None, "the gate has no keep"
    floor, wanted = played(observer, keeping.floor), keeping.target_threshold()
    at_floor = _named(observer)
    observer.decide(fixed(wanted))
    found = CameraCalibration(
        camera=camera,
        faces=len(observer.faces),
        tracks=len({face.track_id for face in observer.faces.values()}),
        floor=floor,
        chosen=played(observer, wanted),
        loss=keeping.loss(wanted),
        curves=curves,
        hours=() if began_s is None else _hours(observer, at_floor, began_s),
    )
    return found, msgspec.structs.replace(keeping.state(), threshold=wanted)


def played(observer: Observer, min_quality: int) -> PolicyReplay:
    """Count what was decided last."""
    return PolicyReplay(min_quality, len(observer.sent), len(_named(observer)))


def _named(observer: Observer) -> dict[int, float]:
    """When each visit began that got a name."""
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
    """Error versus discard of each score, over the faces of tracks that got a name by any of their faces."""
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
        "path and length (chooses the shot)": [observer.scores[face.face_id].rank[0] for face in faces],
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
        axis.set_xlabel("share of faces discarded")
        axis.set_ylabel("not recognized, of those left")
        axis.set_ylim(0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
