"""Savings of the gate: the same footage with every face recognized, with a naive gate, and with facegate.

Every policy gets the same detections, tracks and scores. Each face is embedded once; a policy's cost is the time
and bytes of the faces it forwards. A correct name counts for every visit of that person that contains the face's
track: a person stays identified for as long as the track lasts.

- ``every_face``: no gate; each face is recognized separately.
- ``naive``: one face per track, at its end: the sharpest (Laplacian variance) of the largest quarter.
- ``facegate``: the configured gate with a worker that sends feedback at once: shots of a track are combined into
one
  visit, and inconclusive ones make the gate send another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import cv2
import msgspec
import numpy as np

from facegate.errors import ConfigError
from facegate.paths import decode_yaml
from facegate.pipeline.gating.factory import CameraGates, StepResult
from facegate.pipeline.images import encode_jpeg
from facegate.pipeline.records import (
    Box,
    Face,
    FeedbackBatch,
    Floats,
    RecognitionFeedback,
    ScoredFace,
    ScoredFrame,
    Shot,
    SkippedFace,
)
from facegate.pipeline.watch import ShotQueue
from facegate.recognition.embedders import Embedder, recognizer_id
from facegate.recognition.matching.decision_rule import DecisionRule
from facegate.recognition.matching.gallery import Gallery
from facegate.recognition.worker.visits import VisitEvent, Visits
from facegate.sinks.wire import header_of

POLICIES = ("every_face", "naive", "facegate")
HEADER_BYTES = 400
"""Size of a shot's message without the picture."""
JPEG_QUALITY = 95


class LabeledVisit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person in view from ``start_s`` to ``end_s``; ``person`` is a name of the gallery, or absent."""

    source: str
    start_s: float
    end_s: float
    person: str | None = None
    box: Box | None = None
    """Region of the face's center, to separate people in view at the same time."""

    def holds(self, source: str, pts_s: float, box: Box) -> bool:
        """Whether a face belongs to this visit."""
        if source != self.source or not self.start_s <= pts_s <= self.end_s:
            return False
        if self.box is None:
            return True
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        return self.box[0] <= x <= self.box[2] and self.box[1] <= y <= self.box[3]


class _Labels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    visits: tuple[LabeledVisit, ...]


class ObservedFace(msgspec.Struct, frozen=True):
    """One face after recognition."""

    source: str
    face_id: str
    track_id: int
    pts_s: float
    box: Box
    width: float
    sharpness: float
    name: str | None
    similarity: float
    fr_ms: float
    bytes: int


class SentFace(msgspec.Struct, frozen=True):
    """A face sent by the facegate policy."""

    at: float
    """Media time of the decision."""
    face: ObservedFace
    """With the name of its visit at that time."""
    track_id: int
    """Track id of the gate, which defines the visit."""


class PolicyResult(msgspec.Struct, frozen=True):
    """Cost and result of one policy."""

    fr_calls: int
    fr_ms: float
    bytes: int
    visits: int
    identified: int
    false_identifications: int
    seconds_to_first: float | None
    """Mean time from the start of an identified visit until the naming face was sent, s."""


class Savings(msgspec.Struct, frozen=True):
    """Comparison of the policies."""

    sources: tuple[str, ...]
    recognizer: str
    rule: str
    """Description of the decision rule."""
    faces: int
    labeled: bool
    """Whether visits come from labels; if not, each track is a visit with the majority name of its faces."""
    missed: dict[str, tuple[str, ...]]
    """Unidentified visits of enrolled people, by policy."""
    policies: dict[str, PolicyResult]


def load_labels(path: Path) -> tuple[LabeledVisit, ...]:
    """Read visits from YAML.

    Raises:
        ConfigError: unreadable or invalid.
    """
    try:
        return decode_yaml(path.read_bytes(), _Labels).visits
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {(error.strerror or 'unknown error').lower()}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is not a valid visits file: {error}") from error


class NeverSure(ShotQueue):
    """Sink with inconclusive feedback for every shot, so that the run scores as many faces as any worker needs."""

    def __init__(self) -> None:
        super().__init__()
        self._pending: deque[RecognitionFeedback] = deque()

    def send(self, *shots: Shot) -> None:
        """See :class:`~facegate.sinks.base.Sink`."""
        self._pending.extend(
            RecognitionFeedback(shot.shot_id, named=False, conclusive=False, similarity=0, runner_up_similarity=0)
            for shot in shots
        )
        super().send(*shots)

    def feedback(self) -> FeedbackBatch:
        """See :class:`~facegate.sinks.base.Sink`."""
        return FeedbackBatch(True, tuple(self._pending.popleft() for _ in range(len(self._pending))))


class Observer:
    """Recognizes every face of a run, then replays the gate's decisions with feedback."""

    def __init__(self, source: str, embedder: Embedder, gallery: Gallery, rule: DecisionRule) -> None:
        self._source, self._embedder, self._gallery, self._rule = source, embedder, gallery, rule
        self._frames: list[ScoredFrame] = []
        self.faces: dict[str, ObservedFace] = {}
        self.scores: dict[str, ScoredFace] = {}
        """Scored faces, by face id."""
        self.embeddings: dict[str, Floats] = {}
        """Embeddings of the recognizer, by face id."""
        self.sent: list[SentFace] = []
        self.events: list[VisitEvent] = []
        """Visit events of the simulated worker."""
        self.ended: dict[int, float] = {}
        self._now = 0.0

    def scored(self, frame: ScoredFrame) -> None:
        """Record a frame before the gate decides."""
        self._now = frame.frame.pts_s
        self._frames.append(frame)
        seen: list[ScoredFace | SkippedFace] = [*frame.faces, *frame.skipped]
        for item in seen:
            self.faces[item.face.face_id] = self._recognized(item.face, item.track_id)
        self.scores |= {face.face.face_id: face for face in frame.faces}
        self.ended |= dict.fromkeys(frame.ended, self._now)

    def decide(self, deciders: CameraGates) -> None:
        """Replay all frames through the gate, with feedback on each shot before the next frame."""
        self.sent, self.events = [], []
        visits = Visits(lambda: self._gallery, self._rule)
        names: dict[int, str | None] = {}
        list(deciders.on_feedback(FeedbackBatch(expected=True)))
        for frame in self._frames:
            waiting = list(deciders.step(frame))
            while waiting:
                answers = [self._feedback(shot, decided.now, visits, names) for decided, shot in _shots(waiting)]
                waiting = (
                    list(deciders.on_feedback(FeedbackBatch(expected=True, items=tuple(answers))))
                    if answers
                    else []
                )
        self.events += visits.finish()

    def forget(self) -> None:
        """Release the frames after the last replay."""
        self._frames.clear()
        self.scores.clear()

    def _feedback(
        self, shot: Shot, now: float, visits: Visits, names: dict[int, str | None]
    ) -> RecognitionFeedback:
        header, embedding = header_of(shot), self.embeddings[shot.scored.face.face_id]
        alone = self._gallery.match(embedding, self._rule)
        events = visits.shot(header, embedding, alone, now)
        self.events += events
        for event in events:
            if event.event in ("named", "changed"):
                names[shot.track_id] = event.name
        seen = self.faces[shot.scored.face.face_id]
        named_face = msgspec.structs.replace(seen, name=names.get(shot.track_id))
        self.sent.append(SentFace(now, named_face, shot.track_id))
        named, conclusive = visits.status(header)
        return RecognitionFeedback(
            shot.shot_id,
            named,
            conclusive,
            alone.similarity,
            alone.runner_up_similarity,
            recognizer_id(self._embedder),
        )

    def naive(self) -> list[tuple[float, str]]:
        """Media time and id of each face sent by the naive gate."""
        tracks: dict[int, list[ObservedFace]] = {}
        for face in self.faces.values():
            tracks.setdefault(face.track_id, []).append(face)
        sent = []
        for track_id, faces in tracks.items():
            large = np.quantile([face.width for face in faces], 0.75)
            best = max((face for face in faces if face.width >= large), key=lambda face: face.sharpness)
            sent.append((self.ended.get(track_id, self._now), best.face_id))
        return sent

    def _recognized(self, face: Face, track_id: int) -> ObservedFace:
        started = perf_counter()
        embedding = self._embedder.embed([face.crop])[0]
        match = self._gallery.match(embedding, self._rule)
        spent = 1000 * (perf_counter() - started)
        self.embeddings[face.face_id] = embedding
        return ObservedFace(
            source=self._source,
            face_id=face.face_id,
            track_id=track_id,
            pts_s=face.frame.pts_s,
            box=face.detection.box,
            width=face.detection.width,
            sharpness=float(cv2.Laplacian(cv2.cvtColor(face.crop, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()),
            name=match.name,
            similarity=match.similarity,
            fr_ms=spent,
            bytes=HEADER_BYTES + len(encode_jpeg(face.crop, JPEG_QUALITY)),
        )


def compare(
    observers: Sequence[Observer], labels: tuple[LabeledVisit, ...] | None, recognizer: str, rule: str
) -> Savings:
    """Compare the three policies.

    Args:
        observers: one per source, after its run and :meth:`Observer.decide`.
        labels: ground truth of visits; without it, each track is a visit with the majority name of its faces.
        recognizer: name of the recognizer.
        rule: description of the decision rule.
    """
    sent: dict[str, list[tuple[float, ObservedFace]]] = {name: [] for name in POLICIES}
    every = [face for observer in observers for face in observer.faces.values()]
    for observer in observers:
        sent["every_face"] += [(face.pts_s, face) for face in observer.faces.values()]
        sent["naive"] += [(at, observer.faces[face]) for at, face in observer.naive()]
        sent["facegate"] += [(sent_face.at, sent_face.face) for sent_face in observer.sent]
    truth = _Truth.of_labels(every, labels) if labels is not None else _Truth.of_tracks(every)
    judged = {name: truth.judge(items) for name, items in sent.items()}
    return Savings(
        sources=tuple(sorted({face.source for face in every})),
        recognizer=recognizer,
        rule=rule,
        faces=len(every),
        labeled=labels is not None,
        missed={name: missed for name, (_, missed) in judged.items()},
        policies={name: result for name, (result, _) in judged.items()},
    )


def _shots(steps: Sequence[StepResult]) -> list[tuple[StepResult, Shot]]:
    return [(step, decision.shot) for step in steps for decision in step.decisions if decision.shot is not None]


class _Truth:
    """Ground truth: the visits of a face, and the person of each visit."""

    def __init__(
        self,
        faces: Sequence[ObservedFace],
        people: dict[str, tuple[str | None, float]],
        of: Callable[[ObservedFace], list[str]],
    ) -> None:
        self._people, self._of = people, of
        self._of_track: dict[tuple[str, int], set[str]] = {}
        for face in faces:
            self._of_track.setdefault((face.source, face.track_id), set()).update(of(face))

    @classmethod
    def of_labels(cls, faces: Sequence[ObservedFace], visits: Sequence[LabeledVisit]) -> _Truth:
        """From labels; a face outside all visits is non-mated."""
        named = {f"{v.person} in {v.source} from {v.start_s:g} s": v for v in visits}
        return cls(
            faces,
            {key: (visit.person, visit.start_s) for key, visit in named.items()},
            lambda face: [k for k, visit in named.items() if visit.holds(face.source, face.pts_s, face.box)],
        )

    @classmethod
    def of_tracks(cls, faces: Sequence[ObservedFace]) -> _Truth:
        """Each track is a visit, of the person named by at least half of its faces."""

        def key(face: ObservedFace) -> str:
            return f"track {face.track_id} of {face.source}"

        tracks: dict[str, list[ObservedFace]] = {}
        for face in faces:
            tracks.setdefault(key(face), []).append(face)
        people: dict[str, tuple[str | None, float]] = {}
        for name, seen in tracks.items():
            names = [face.name for face in seen if face.name is not None]
            person = max(sorted(set(names)), key=names.count) if 2 * len(names) >= len(seen) else None
            people[name] = (person, min(face.pts_s for face in seen))
        return cls(faces, people, lambda face: [key(face)])

    def judge(self, items: list[tuple[float, ObservedFace]]) -> tuple[PolicyResult, tuple[str, ...]]:
        """Result of a policy, and the visits of enrolled people that it missed."""
        delays: dict[str, float] = {}
        false = 0
        for at, face in items:
            if face.name is None:
                continue
            if face.name not in (self._people[key][0] for key in self._of(face)):
                false += 1
                continue
            for key in self._of_track[face.source, face.track_id]:
                person, start_s = self._people[key]
                if person == face.name:
                    delays[key] = min(delays.get(key, np.inf), max(0.0, at - start_s))
        wanted = [key for key, (person, _) in self._people.items() if person is not None]
        missed = tuple(key for key in wanted if key not in delays)
        return _bill(items, len(wanted), list(delays.values()), false), missed


def _bill(items: list[tuple[float, ObservedFace]], visits: int, delays: list[float], false: int) -> PolicyResult:
    return PolicyResult(
        fr_calls=len(items),
        fr_ms=round(sum(face.fr_ms for _, face in items), 1),
        bytes=sum(face.bytes for _, face in items),
        visits=visits,
        identified=len(delays),
        false_identifications=false,
        seconds_to_first=round(float(np.mean(delays)), 3) if delays else None,
    )


def plot(savings: Savings, path: Path) -> None:
    """Draw calls against identified visits, one bar group per policy."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    colors = ("#8c959f", "#d08a1e", "#0a7d33")
    names = [name.replace("_", " ") for name in savings.policies]
    results = list(savings.policies.values())
    for axis, values, title in (
        (left, [r.fr_calls for r in results], "FR calls (log scale)"),
        (right, [r.identified for r in results], f"visits identified, of {results[0].visits}"),
    ):
        bars = axis.bar(names, values, color=colors)
        axis.bar_label(bars)
        axis.set_title(title, fontsize=11)
        axis.spines[["top", "right"]].set_visible(False)
    left.set_yscale("log")
    right.set_ylim(0, max(results[0].visits, 1) * 1.15)
    figure.savefig(path, dpi=120)
    plt.close(figure)
