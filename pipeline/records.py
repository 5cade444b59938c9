"""The records that flow from source to sink.

Frozen; arrays are numpy, ``uint8`` RGB and C-contiguous. Boxes are ``(x1, y1, x2, y2)`` in pixels of the
full-resolution frame, landmarks ``(5, 2)`` in the same pixels: left eye, right eye, nose, left and right mouth
corner, as seen in the image. Times are seconds: ``pts_s`` on the media clock, ``received_s`` on this host's
monotonic clock, ``captured_at`` as Unix time (UTC), if the camera sends it.

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
    """Base of all records: immutable, compared by identity."""


class FrameRef(Record, frozen=True, eq=False):
    """Reference to a frame, without its pixels."""

    camera: str
    seq: int
    pts_s: float
    received_s: float
    captured_at: float | None
    width: int
    height: int
    behind_s: float = 0.0
    """Seconds the frame had waited in buffers when it was received, by the media clock."""
    lease: int = 0
    """In a fleet: revision of the camera's lease; later leases have higher revisions."""


class Frame(Record, frozen=True, eq=False):
    """One decoded frame of one camera."""

    ref: FrameRef
    image: Image
    large: Image | None = None
    """The same moment in the camera's main stream, from which crops are cut; ``ref`` has its size."""
    still: bool = False
    """An independent picture: it continues nothing, and each of its faces is a track of its own."""


class CameraEnded(Record, frozen=True, eq=False):
    """The camera sends no more frames; its tracks end."""

    frame: FrameRef
    """The last frame, or an empty reference."""


class Detection(Record, frozen=True, eq=False):
    """One detected face: box, confidence (0..1) and five landmarks."""

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
    """The whole picture, scaled down; shared by all faces of a frame, only if delivery sends it."""
    blurred: tuple[Box, ...] = ()
    """Boxes of other faces, in pixels of ``context``, that are blurred in it."""


class FrameFaces(Record, frozen=True, eq=False):
    """All faces of one frame; frames without faces are passed on too, because tracks age by them."""

    frame: FrameRef
    faces: tuple[Face, ...]
    cut: bool
    still: bool = False
    """See :class:`Frame`."""
    """A new scene starts with this frame; all tracks end before it."""


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
    """A tracked face with the results of the forward pass."""

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
    """Score by which faces of one track are compared, 0..100; ``None`` in old recordings: ``quality`` is used."""

    @property
    def rank(self) -> tuple[float, float]:
        """Sort key within a track, higher is better; the raw score breaks ties."""
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
    """Faces that were not scored."""


class Reason(StrEnum):
    """Why a shot was sent."""

    TRACK_ENDED = "track_ended"
    MAX_WAIT = "max_wait"
    GOOD_ENOUGH = "good_enough"
    IMPROVED = "improved"
    INTERVAL = "interval"
    FOLLOW_UP = "asked"
    """Recognition of the track was inconclusive."""
    SHADOW = "shadow"
    """A rejected face, sent to estimate what the gate loses."""


class QualityInfo(Record, frozen=True, eq=False):
    """How a quality value was computed: algorithm, model and calibration."""

    algorithm: str
    model: str
    calibration: str


class Shot(Record, frozen=True, eq=False):
    """A forwarded face: the best of its track so far."""

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
        """Box of the face in its frame, pixels."""
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
    """Recognition result of a shot: numbers only, no name. Recordings use the names passed to ``field``."""

    shot_id: str
    named: bool
    """Whether the shot's visit was identified."""
    conclusive: bool = msgspec.field(name="sure")
    """Whether further shots would hardly change the result."""
    similarity: float
    """Cosine similarity to the most similar person, -1..1."""
    runner_up_similarity: float = msgspec.field(name="second")
    """Cosine similarity to the second most similar person, -1..1."""
    recognizer: str = msgspec.field(default="", name="recogniser")
    """Id of recognizer and gallery; state learned with one is not valid for another."""


class PeerSighting(Record, frozen=True, eq=False):
    """A person forwarded by another node, at a camera of a group that also has cameras here."""

    group: str
    embedding: bytes
    """Unit embedding, float32, little-endian."""
    at_s: float
    """This host's monotonic time, seconds."""


class FeedbackBatch(Record, frozen=True, eq=False):
    """Recognition feedback and sightings since the last poll."""

    expected: bool
    """Whether a recognizer that sends feedback is connected."""
    items: tuple[RecognitionFeedback, ...] = msgspec.field(default=(), name="given")
    sightings: tuple[PeerSighting, ...] = msgspec.field(default=(), name="met")


class TrackEnd(Record, frozen=True, eq=False):
    """A track that has sent shots will send no more."""

    run_id: str
    camera: str
    track_id: int
    pts_s: float
    """Media time of the decision, seconds."""


class LiveTracks(Record, frozen=True, eq=False):
    """Tracks that have sent shots and may send more."""

    run_id: str
    cameras: dict[str, tuple[int, ...]]
    """Track ids of every camera that has sent a frame; empty for a silent camera."""


class Outcome(StrEnum):
    """The outcome of an observed face."""

    FORWARDED = "forwarded"
    SUPERSEDED = "superseded"
    BELOW_THRESHOLD = "below_threshold"
    NOT_NEEDED = "not_needed"
    """Not scored, because it was unlikely to beat its track's best."""
    NOT_SCORED = "not_scored"
    """Not scored under overload; other faces were more promising."""
    OFF_POSE = "off_pose"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    AT_BORDER = "at_border"
    OUTSIDE = "outside"
    """Outside all zones."""
    LOW_CONFIDENCE = "low_confidence"
    NOT_PRIMARY = "not_primary"
    SHORT_TRACK = "short_track"
    COOLDOWN = "cooldown"
    """The person was forwarded by this camera recently."""
    DUPLICATE = "duplicate"
    """The person was forwarded by another camera of the group recently."""
    OVER_BUDGET = "over_budget"
    DRY_RUN = "dry_run"
    """Would have been forwarded without ``dry_run``."""
    SHADOW = "shadow"
    """A rejected face that was forwarded and marked, to estimate what the gate loses."""
    UNTRACKED = "untracked"
    """Never confirmed as a track by a second detection."""
    STOPPED = "stopped"
    """The run stopped or failed before a decision."""


def make_shot_id(run_id: str, camera: str, track_id: int, face_id: str) -> str:
    """Return the idempotency key of a shot: 32 hex digits, a hash of the four ids."""
    key = msgspec.msgpack.encode((run_id, camera, track_id, face_id))
    return hashlib.blake2b(key, digest_size=16).hexdigest()


def contiguous(image: NDArray[Any]) -> Image:
    """Return ``image`` as C-contiguous uint8 (no copy when it already is)."""
    return np.ascontiguousarray(image, dtype=np.uint8)
