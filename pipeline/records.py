"""The records that flow from source to sink.

Frozen; arrays are numpy, ``uint8`` RGB and C-contiguous. Boxes are ``(x1, y1, x2, y2)`` in pixels of the
full-resolution frame, landmarks ``(5, 2)`` in the same pixels: left eye, right eye, nose, left and right mouth
corner, as seen in the image. Times are seconds: ``pts_s`` on the media clock, ``received_s`` on this host's
monotonic clock, ``captured_at`` as Unix time (UTC) and only where the camera tells it.

Ids: ``camera`` is the name from the configuration, ``run_id`` a ULID, ``face_id`` and ``track_id`` are unique
within (camera, run), and ``shot_id`` is a hash of run, camera, track and face: the idempotency key downstream.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""``(H, W, 3)`` uint8 RGB."""

Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]


class Record(msgspec.Struct, frozen=True, eq=False):
    """Base of all records: immutable and compared by identity, since they hold arrays."""


class FrameRef(Record, frozen=True, eq=False):
    """Which frame a face was seen in, without its pixels."""

    camera: str
    seq: int
    pts_s: float
    received_s: float
    captured_at: float | None
    width: int
    height: int
    behind_s: float = 0.0
    """How long the frame had waited in buffers when it was received, as far as the media clock tells."""
    lease: int = 0
    """In a fleet: revision of the lease by which the camera was watched; a later one of the camera is higher."""


class Frame(Record, frozen=True, eq=False):
    """One decoded frame of one camera."""

    ref: FrameRef
    image: Image
    large: Image | None = None
    """The same moment in the camera's large stream, from which crops are cut; ``ref`` has its size."""


class CameraEnded(Record, frozen=True, eq=False):
    """No more frames will come from this camera; its tracks end."""

    frame: FrameRef
    """The last frame seen, or an empty one."""


class Detection(Record, frozen=True, eq=False):
    """One detected face: where, how sure (0..1), and five landmarks."""

    box: Box
    confidence: float
    landmarks: Floats

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return self.box[3] - self.box[1]


class Face(Record, frozen=True, eq=False):
    """A detected face with its aligned ``(112, 112, 3)`` crop. From here on it is *observed*."""

    face_id: str
    frame: FrameRef
    detection: Detection
    crop: Image
    context: Image | None = None
    """The whole picture, shrunk; one for all faces of a frame, and only where delivery sends it."""


class FrameFaces(Record, frozen=True, eq=False):
    """All faces of one frame; frames without faces pass too, because tracks age by them."""

    frame: FrameRef
    faces: tuple[Face, ...]
    cut: bool
    """A new scene starts with this frame: no track goes on into it."""


class TrackedFace(Record, frozen=True, eq=False):
    """A face with the track it belongs to."""

    face: Face
    track_id: int


class TrackedFrame(Record, frozen=True, eq=False):
    """A frame after tracking: faces with tracks, and the tracks that ended with this frame."""

    frame: FrameRef
    faces: tuple[TrackedFace, ...]
    ended: tuple[int, ...]
    last: bool = False
    """The camera has ended; nothing comes after this."""


class ScoredFace(Record, frozen=True, eq=False):
    """A tracked face with what the one ViT pass said about it."""

    face: Face
    track_id: int
    quality: int
    """0..100, calibrated by the model card (ISO/IEC 29794-1 style)."""
    raw_score: float
    """The algorithm's own score before calibration."""
    patches: Floats
    """``(N,)`` quality of each patch token, 0..1."""
    embedding: Floats | None
    """``(D,)``, not normalized; ``None`` for a model without an embedding."""
    rank_score: float | None = None
    """By which faces of one track are compared, 0..100; without it ``quality`` is (recordings of before)."""

    @property
    def rank(self) -> tuple[float, float]:
        """The higher, the better a face of its track; the raw score breaks ties."""
        return (float(self.quality) if self.rank_score is None else self.rank_score, self.raw_score)


class SkippedFace(Record, frozen=True, eq=False):
    """A tracked face that was not scored."""

    face: Face
    track_id: int
    outcome: Outcome
    """Why: ``NOT_NEEDED`` or ``NOT_SCORED``."""


class ScoredFrame(Record, frozen=True, eq=False):
    """A frame after scoring, in the order in which it was tracked."""

    frame: FrameRef
    faces: tuple[ScoredFace, ...]
    ended: tuple[int, ...]
    last: bool = False
    """The camera has ended; nothing comes after this."""
    skipped: tuple[SkippedFace, ...] = ()
    """Faces that were seen and not scored."""


class Reason(StrEnum):
    """Why a shot was sent when it was."""

    TRACK_ENDED = "track_ended"
    MAX_WAIT = "max_wait"
    GOOD_ENOUGH = "good_enough"
    IMPROVED = "improved"
    INTERVAL = "interval"
    FOLLOW_UP = "asked"
    """The recognizer was not sure of what it has of the track."""
    SHADOW = "shadow"
    """A reject, sent to estimate what the gate costs."""


class QualityInfo(Record, frozen=True, eq=False):
    """What produced a quality value: algorithm, model and calibration, by name and version."""

    algorithm: str
    model: str
    calibration: str


class Shot(Record, frozen=True, eq=False):
    """A face that was let through: the best of its track so far."""

    shot_id: str
    run_id: str
    camera: str
    track_id: int
    rank: int
    """1 for the first shot of a track, 2 for the next, and so on; 0 for a shadow sample."""
    reason: Reason
    scored: ScoredFace
    quality_info: QualityInfo

    @property
    def crop(self) -> Image:
        """The aligned ``(112, 112, 3)`` RGB crop."""
        return self.scored.face.crop

    @property
    def quality(self) -> int:
        """Quality, 0..100."""
        return self.scored.quality

    @property
    def box(self) -> Box:
        """Where the face was in its frame."""
        return self.scored.face.detection.box

    @property
    def landmarks(self) -> Floats:
        """Five landmarks in pixels of the frame, ``(5, 2)``."""
        return self.scored.face.detection.landmarks

    @property
    def pts_s(self) -> float:
        """Media time of the frame in seconds."""
        return self.scored.face.frame.pts_s


class RecognitionFeedback(Record, frozen=True, eq=False):
    """What a recognizer made of a shot: numbers alone, no name. Recordings hold the names given to ``field``."""

    shot_id: str
    named: bool
    """Whether the shot's visit has a name."""
    conclusive: bool = msgspec.field(name="sure")
    """Whether more shots would hardly change that."""
    similarity: float
    """Of this shot to the nearest person, -1..1."""
    runner_up_similarity: float = msgspec.field(name="second")
    """To the next one, -1..1."""
    recognizer: str = msgspec.field(default="", name="recogniser")
    """Changes with what recognizes: what was learned from one does not hold for another."""


class PeerSighting(Record, frozen=True, eq=False):
    """Somebody whom another gate has let through, at a camera of a group that has cameras here, too."""

    group: str
    embedding: bytes
    """Of unit length; float32, little-endian."""
    at_s: float
    """By this host's monotonic clock."""


class FeedbackBatch(Record, frozen=True, eq=False):
    """What recognizers, and other gates of a fleet, have said since it was last asked."""

    expected: bool
    """Whether somebody is there who answers."""
    items: tuple[RecognitionFeedback, ...] = msgspec.field(default=(), name="given")
    sightings: tuple[PeerSighting, ...] = msgspec.field(default=(), name="met")


class TrackEnd(Record, frozen=True, eq=False):
    """No more shots will come of a track that some came of."""

    run_id: str
    camera: str
    track_id: int
    pts_s: float
    """Media time at which that was known, seconds."""


class LiveTracks(Record, frozen=True, eq=False):
    """The tracks of which shots were sent and more may come."""

    run_id: str
    cameras: dict[str, tuple[int, ...]]
    """Track ids of every camera that has sent a frame; empty for a camera that has gone silent."""


class Outcome(StrEnum):
    """The one fate of an observed face."""

    FORWARDED = "forwarded"
    SUPERSEDED = "superseded"
    BELOW_THRESHOLD = "below_threshold"
    NOT_NEEDED = "not_needed"
    """Not scored, because it could hardly have been better than its track's best."""
    NOT_SCORED = "not_scored"
    """More came than could be scored, and others promised more."""
    OFF_POSE = "off_pose"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    AT_BORDER = "at_border"
    OUTSIDE = "outside"
    """Not in the part of the picture where faces count."""
    LOW_CONFIDENCE = "low_confidence"
    NOT_PRIMARY = "not_primary"
    SHORT_TRACK = "short_track"
    COOLDOWN = "cooldown"
    """The person was forwarded by this camera recently."""
    DUPLICATE = "duplicate"
    """The person was forwarded by another camera of the group recently."""
    OVER_BUDGET = "over_budget"
    DRY_RUN = "dry_run"
    """Would have been forwarded."""
    SHADOW = "shadow"
    """A reject that was forwarded and marked, to estimate what the gate costs."""
    UNTRACKED = "untracked"
    """Seen, but never confirmed as a track by a second sighting."""
    STOPPED = "stopped"
    """The run was stopped or failed before a decision."""


def make_shot_id(run_id: str, camera: str, track_id: int, face_id: str) -> str:
    """Return the idempotency key of a shot: 32 hex digits, the same for the same four ids."""
    key = msgspec.msgpack.encode((run_id, camera, track_id, face_id))
    return hashlib.blake2b(key, digest_size=16).hexdigest()


def contiguous(image: NDArray[Any]) -> Image:
    """Return ``image`` as C-contiguous uint8 (no copy when it already is)."""
    return np.ascontiguousarray(image, dtype=np.uint8)
