"""Requests and responses of the API, as in its OpenAPI document. Times are Unix time in seconds (UTC)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from facegate.pipeline.config.values import Aspect, Label, Name, Polygon, Region
from facegate.store.records import StoredVisit

PersonName = Annotated[str, Field(min_length=1, max_length=100)]
Quality = Annotated[int, Field(ge=0, le=100)]
RowId = Annotated[int, Field(ge=0, le=2**62)]


class Strict(BaseModel):
    """A request; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Problem(BaseModel):
    """Problem details (RFC 9457) with a code for programs and a remedy for people."""

    type: str
    """Relative URI of the description of the code."""
    title: str
    """Summary of the code; the same for every occurrence."""
    status: int
    """HTTP status."""
    detail: str
    """What is wrong, with the value."""
    code: str
    """Stable name of the problem."""
    remedy: str
    """What to do about it."""


class CameraSettings(Strict):
    """Settings of a camera, as in the configuration; omitted settings have their defaults."""

    display_name: Label | None = None
    user: Annotated[str, Field(max_length=200)] | None = None
    password: SecretStr | None = None
    main_stream: Annotated[str, Field(max_length=4096)] | None = None
    serial: Label | None = None
    transport: Literal["auto", "tcp", "udp"] | None = None
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
    store: dict[str, Any] | None = None
    enabled: bool | None = None


class CameraCreate(CameraSettings):
    """A new camera."""

    name: Name
    source: Annotated[str, Field(min_length=1, max_length=4096)]


class CameraUpdate(CameraSettings):
    """Changed settings of a camera; ``null`` resets a setting to its default."""

    source: Annotated[str, Field(min_length=1, max_length=4096)] | None = None


class ProbeRequest(Strict):
    """A stream to probe."""

    source: Annotated[str, Field(min_length=1, max_length=4096)]
    user: Annotated[str, Field(max_length=200)] | None = None
    password: SecretStr | None = None
    transport: Literal["auto", "tcp", "udp"] = "auto"


class ProbeOut(BaseModel):
    """What a stream offers, as measured."""

    width: int
    """With square pixels."""
    height: int
    codec: str | None
    fps_measured: float
    first_frame_s: float
    """Seconds from opening to the first picture."""
    advice: str | None
    """Suggested ``display_aspect_ratio``."""
    transport: str | None
    """RTSP transport that works."""
    video_streams: list[str]
    picture: str | None
    """A picture of it, a JPEG in Base64."""


class DiscoverRequest(Strict):
    """Where to look for cameras, and with which login."""

    hosts: Annotated[list[Annotated[str, Field(min_length=1, max_length=255)]], Field(max_length=64)] = []
    """Hosts to ask directly: ``HOST``, ``HOST:PORT`` or ``NETWORK/BITS``."""
    multicast: bool = True
    """Ask the local network by WS-Discovery."""
    user: Annotated[str, Field(max_length=200)] | None = None
    password: SecretStr | None = None


class FoundStreamOut(BaseModel):
    """A stream of a camera that was found."""

    url: str | None
    """RTSP URL without a login."""
    encoding: str
    width: int
    height: int
    fps: float | None


class FoundCameraOut(BaseModel):
    """A camera that was found."""

    address: str
    vendor: str
    model: str
    serial: str
    main: FoundStreamOut | None
    """The largest stream."""
    sub: FoundStreamOut | None
    """The smaller one for detection."""
    problem: str | None


class CameraOut(BaseModel):
    """A camera with its state and counters."""

    name: str
    display_name: str
    """Its name for people."""
    enabled: bool
    state: str
    """``connecting``, ``live``, ``stalled``, ``unauthorized``, ``failed``, ``ended``, ``paused``, or ``waiting``
    (for the gate)."""
    problem: str | None
    source: str
    """URL without credentials."""
    main_stream: str | None
    """URL of the high-resolution stream, without credentials."""
    user: str | None
    has_password: bool
    settings: dict[str, Any]
    """As in the configuration file, without secrets."""
    frames_received: int = 0
    """This and the following as in the run's report; zero for a camera that the gate does not run."""
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
    searched_share: float = 0.0
    searched_pixels: int = 0
    deferred_pixels: int = 0
    loss: dict[str, Any] | None = None
    drift: dict[str, Any] | None = None


class CamerasOut(BaseModel):
    """All cameras."""

    config: str
    """Version of the configuration; send it as ``If-Match`` to change only this version."""
    cameras: list[CameraOut]


class ConfigVersionOut(BaseModel):
    """Version of the configuration after a change."""

    config: str
    """New version."""


class QualityOut(BaseModel):
    """Quality, 0 to 100, and the model and algorithm that measured it."""

    value: int
    raw: float
    algorithm: str
    model: str
    calibration: str
    version: str


class ReasonsOut(BaseModel):
    """Components of the quality, and advice to improve it."""

    components: dict[str, int]
    """Quality components, 0 (worst) to 100 each."""
    advice: str = ""
    """Most helpful change, in one sentence; empty for a model without learned advice."""
    defect: str | None = None
    """Defect that the advice addresses."""
    gain: int = 0
    """Expected gain in quality points."""


class ShotOut(BaseModel):
    """A sent face, or a shadow sample: its wire header (docs/reference/wire.md), visit and name."""

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
    """Only in shots of wire version 1.5 or newer."""
    crop_encoding: str
    visit: str
    """``RUN/CAMERA/TRACK``."""
    name: str | None
    """Name of the visit."""
    outcome: Literal["forwarded", "shadow"]


class ShotsOut(BaseModel):
    """A page of shots, newest first. It may be short or empty although ``next`` is set."""

    shots: list[ShotOut]
    next: int | None


class VisitOut(BaseModel):
    """A track with at least one sent shot."""

    id: int
    """Increases with every visit; use it as ``before`` of the next page."""
    visit: str
    """``RUN/CAMERA/TRACK``."""
    camera: str
    track_id: int
    first: Annotated[float, Field(description="Unix time of the first face, sent or not.")]
    last: Annotated[float, Field(description="Unix time of the last face so far, sent or not; final once `ended`.")]
    shots: int
    best: str | None
    """``shot_id`` of the best shot."""
    quality: int
    answered: bool
    name: str | None
    similarity: float | None
    margin: float | None
    fpir: float | None
    ended: bool
    corrected: float | None
    """Unix time at which somebody corrected the name."""
    unknown_id: int | None
    """Number of an unknown visitor, the same in all visits."""
    seen_before: int | None
    """Number of its earlier visits."""
    first_seen: float | None
    """Unix time of its first visit."""


class VisitsOut(BaseModel):
    """A page of visits; see :class:`ShotsOut`."""

    visits: list[VisitOut]
    next: int | None
    name: str | None
    """Person that the filter was taken for; ``null`` without a name, or if nobody has a similar one."""


class FaceOutcomeOut(BaseModel):
    """Outcome of one face of a track."""

    face_id: str
    pts_s: float
    quality: int | None
    outcome: str
    reason: str | None
    shot_id: str | None
    picture: bool
    """Whether its picture is available; unscored faces have none."""


class ClipOut(BaseModel):
    """Seconds of video around a visit, a fragmented MP4 at ``clip.mp4``."""

    began: float
    """Unix time of its first key picture."""
    offset_s: float
    """Seconds from there to what was to be kept; play it from there."""
    seconds: float
    codec: str
    """FFmpeg's name; browsers play `h264` and `av1`, and few play `hevc`."""


class TimelineOut(BaseModel):
    """All decisions about one track."""

    visit: VisitOut | None
    """``null`` if no shot was sent."""
    camera: str
    track_id: int
    first: Annotated[float, Field(description="Unix time of the first face.")]
    last: Annotated[float, Field(description="Unix time of the last face so far.")]
    faces: int
    outcomes: dict[str, int]
    threshold: int | None
    """Current ``min_quality`` of the camera."""
    events: list[FaceOutcomeOut]
    shots: list[ShotOut]
    scene: str | None
    """``shot_id`` of the shot whose whole picture is stored."""
    clip: ClipOut | None
    """Seconds of video around the visit."""


class TrackSummaryOut(BaseModel):
    """A track in a list."""

    run_id: str
    track_id: int
    first: Annotated[float, Field(description="Unix time of the first face.")]
    last: Annotated[float, Field(description="Unix time of the last face so far.")]
    faces: int
    quality: int | None
    outcomes: dict[str, int]
    sent: int


class TracksOut(BaseModel):
    """Newest tracks of a camera, including tracks without a sent shot."""

    tracks: list[TrackSummaryOut]


def visit_out(visit: StoredVisit) -> VisitOut:
    """Convert a stored visit."""
    return VisitOut.model_validate({name: getattr(visit, name) for name in VisitOut.model_fields})
