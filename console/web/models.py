"""What the API takes and gives, as OpenAPI shows it. Times are Unix time (UTC)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from facegate.pipeline.config.values import Aspect, Name, Polygon, Region
from facegate.store.records import StoredVisit

PersonName = Annotated[str, Field(min_length=1, max_length=100)]
Quality = Annotated[int, Field(ge=0, le=100)]
RowId = Annotated[int, Field(ge=0, le=2**62)]


class Strict(BaseModel):
    """Refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Problem(BaseModel):
    """Why something was not done."""

    error: str
    """For programs."""
    message: str
    remedy: str


class CameraSettings(Strict):
    """Of a camera, as in the configuration (docs/cameras.md); what is left out has its default."""

    user: Annotated[str, Field(max_length=200)] | None = None
    password: SecretStr | None = None
    main_stream: Annotated[str, Field(max_length=4096)] | None = None
    transport: Literal["tcp", "udp"] | None = None
    timeout_s: Annotated[float, Field(gt=0, le=120)] | None = None
    max_fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    idle_fps: Annotated[float, Field(ge=0.1, le=1000)] | None = None
    display_aspect_ratio: Aspect | None = None
    rotate: Literal[0, 90, 180, 270] | None = None
    detect_region: Region | None = None
    zones: Annotated[list[Polygon], Field(max_length=50)] | None = None
    mask: Annotated[list[Polygon], Field(max_length=50)] | None = None
    skip_still: bool | None = None
    track_between_detections: bool | None = None
    reconnect: bool | None = None
    decoder: Literal["auto", "cpu", "cuda", "vaapi", "qsv"] | None = None
    realtime: bool | None = None
    gate: dict[str, Any] | None = None
    enabled: bool | None = None


class CameraCreate(CameraSettings):
    """A camera to add."""

    name: Name
    source: Annotated[str, Field(min_length=1, max_length=4096)]


class CameraUpdate(CameraSettings):
    """What is to be otherwise of a camera. A setting that is ``null`` goes back to its default."""

    source: Annotated[str, Field(min_length=1, max_length=4096)] | None = None


class ProbeRequest(Strict):
    """A camera to be watched for a moment."""

    source: Annotated[str, Field(min_length=1, max_length=4096)]
    user: Annotated[str, Field(max_length=200)] | None = None
    password: SecretStr | None = None
    transport: Literal["tcp", "udp"] = "tcp"


class CameraOut(BaseModel):
    """A camera and how it is doing."""

    name: str
    enabled: bool
    state: str
    """``connecting``, ``live``, ``stalled``, ``unauthorized``, ``failed``, ``ended``; ``paused``; ``waiting`` for
    the gate."""
    problem: str | None
    source: str
    """Without its login."""
    user: str | None
    has_password: bool
    settings: dict[str, Any]
    """As in the configuration file, without secrets."""
    frames_received: int = 0
    """This and the following as in the run's report; of a camera that the gate does not have, nothing."""
    frames_processed: int = 0
    frames_searched: int = 0
    frames_overwritten: int = 0
    frames_without_motion: int = 0
    packets_skipped: int = 0
    packets_idle: int = 0
    reconnects: int = 0
    processed_fps: float = 0.0
    decode_s: float = 0.0
    age_ms: dict[str, float] | None = None
    observed: int = 0
    outcomes: dict[str, int] = {}
    threshold: int | None = None
    identity_switches: int = 0
    loss: dict[str, Any] | None = None
    drift: dict[str, Any] | None = None


class CamerasOut(BaseModel):
    """All of them."""

    config: str
    """Version of the configuration; send it as ``If-Match`` to change nothing but this version."""
    cameras: list[CameraOut]


class ConfigVersionOut(BaseModel):
    """The configuration was changed."""

    config: str
    """Its version now."""


class QualityOut(BaseModel):
    """Quality and what measured it."""

    value: int
    raw: float
    algorithm: str
    model: str
    calibration: str
    version: str


class ReasonsOut(BaseModel):
    """Why the quality is what it is."""

    components: dict[str, int]
    """What can be seen, 0 (worst) to 100 each."""
    advice: str = ""
    """What would help most, in one sentence; empty for a model for which that was not learned."""
    defect: str | None = None
    """What the advice is about."""
    gain: int = 0
    """Points of quality that following it is expected to win."""


class ShotOut(BaseModel):
    """A face that was sent, or a sample of the others: its header as on the wire (docs/wire.md), and more."""

    shot_id: str
    run_id: str
    camera: str
    track_id: int
    face_id: str
    rank: int
    reason: str
    frame_seq: int
    pts_s: float
    captured_at: float | None
    received_at: float | None
    frame_size: tuple[int, int]
    box: tuple[float, float, float, float]
    confidence: float
    landmarks: list[tuple[float, float]]
    quality: QualityOut
    reasons: ReasonsOut | None = None
    """Of shots that gates have sent since wire version 1.5."""
    crop_encoding: str
    visit: str
    """``RUN/CAMERA/TRACK``."""
    name: str | None
    """Of its visit."""
    outcome: Literal["forwarded", "shadow"]


class ShotsOut(BaseModel):
    """A page of them, newest first. It may be short, even empty, while ``next`` is there."""

    shots: list[ShotOut]
    next: int | None


class VisitOut(BaseModel):
    """A track of which a shot was sent."""

    id: int
    """Grows with every visit; a page ``before`` it begins with the one that came before."""
    visit: str
    """``RUN/CAMERA/TRACK``."""
    camera: str
    track_id: int
    first: float
    last: float
    shots: int
    best: str | None
    """``shot_id``."""
    quality: int
    answered: bool
    name: str | None
    similarity: float | None
    margin: float | None
    fpir: float | None
    ended: bool


class VisitsOut(BaseModel):
    """A page of them; see :class:`ShotsOut`."""

    visits: list[VisitOut]
    next: int | None


class FaceOutcomeOut(BaseModel):
    """What became of one face of a track."""

    face_id: str
    pts_s: float
    quality: int | None
    outcome: str
    reason: str | None
    shot_id: str | None
    picture: bool
    """Whether its picture is still kept; of faces that were not scored none is."""


class TimelineOut(BaseModel):
    """Everything that was decided of one track."""

    visit: VisitOut | None
    """``None`` where nothing of it was sent."""
    camera: str
    track_id: int
    first: float
    last: float
    faces: int
    outcomes: dict[str, int]
    threshold: int | None
    """``min_quality`` of the camera now."""
    events: list[FaceOutcomeOut]
    shots: list[ShotOut]


class TrackSummaryOut(BaseModel):
    """A track in a list."""

    run_id: str
    track_id: int
    first: float
    last: float
    faces: int
    quality: int | None
    outcomes: dict[str, int]
    sent: int


class TracksOut(BaseModel):
    """A camera's newest tracks, those that sent nothing too."""

    tracks: list[TrackSummaryOut]


def visit_out(visit: StoredVisit) -> VisitOut:
    """A stored visit as the API gives it."""
    return VisitOut.model_validate({name: getattr(visit, name) for name in VisitOut.model_fields})
