"""The configuration file: validated, units in the names, and unknown keys refused with the nearest known one."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from facegate.errors import ConfigError, SourceError
from facegate.pipeline.sources.base import redact

DEFAULT_BIND = "tcp://127.0.0.1:5570"
Name = Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")]
Text = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f\x7f]+$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Polygon = Annotated[tuple[tuple[Fraction, Fraction], ...], Field(min_length=3, max_length=100)]
_ENDPOINT = re.compile(r"tcp://(\[[0-9a-fA-F:]+\]|[\w.*-]+):\d{1,5}|ipc://.+")


LOCAL = ("localhost", "127.0.0.1", "::1")


def _endpoint(text: str) -> str:
    if not _ENDPOINT.fullmatch(text):
        raise ValueError("an endpoint is tcp://HOST:PORT or ipc://FILE")
    return text


Endpoint = Annotated[str, AfterValidator(_endpoint)]


def _in_order(region: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = region
    if right - left < 0.01 or bottom - top < 0.01:
        raise ValueError("left, top, right, bottom: right must be greater than left and bottom than top")
    return region


Region = Annotated[tuple[Fraction, Fraction, Fraction, Fraction], AfterValidator(_in_order)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CameraConfig(_Section):
    """One camera."""

    name: Name
    """Appears in every record; letters, digits, ``_``, ``.``, ``-``."""
    source: Text
    """``rtsp(s)://`` or ``http(s)://`` URL, video file, folder of pictures, or webcam (``0``, ``/dev/video0``).
    ``${NAME}`` is read from the environment."""

    crops: Text | None = None
    """URL of the same camera's large stream: faces are found in ``source`` and cut from this one."""
    reconnect: bool = True
    """Try a lost live camera again, for ever. Without it, the camera ends with its stream."""
    timeout_s: float = Field(5.0, gt=0, le=120)
    """A live camera that gives nothing for so long is lost."""
    transport: Literal["tcp", "udp"] = "tcp"
    """Of RTSP."""
    decoder: Literal["auto", "cpu", "cuda", "vaapi", "qsv"] = "auto"
    """``auto`` decodes in hardware where it answers, else on the CPU."""
    max_fps: float | None = Field(None, gt=0)
    """Look at no more frames per second than this; all are decoded."""
    realtime: bool = False
    """Play a file at its own speed, like a camera: the newest frame wins."""
    rotate: Literal[0, 90, 180, 270] = 0
    """Turn the picture counter-clockwise by this many degrees."""
    search: Region | None = None
    """Look for faces in this part alone: left, top, right, bottom as fractions of the picture."""
    report: tuple[Polygon, ...] = ()
    """Faces whose middle is in none of these polygons are dropped; corners as fractions of width and height."""
    mask: tuple[Polygon, ...] = ()
    """Parts that nobody may look at: black before anything else."""
    skip_still: bool = False
    """Do not look at frames in which nothing has moved, but twice a second."""
    gate: dict[str, Any] = Field(default_factory=dict)
    """Settings of ``gate`` that differ for this camera."""

    @model_validator(mode="after")
    def _two_streams_are_two_urls(self) -> Self:
        if self.crops is not None and not all("://" in url for url in (self.source, self.crops)):
            raise ValueError("crops needs two streams: source and crops must both be URLs")
        return self

    @field_validator("source", mode="before")
    @classmethod
    def _webcam_number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class DetectorConfig(_Section):
    """Which detector, and how hard it looks."""

    kind: Literal["auto", "mtcnn", "yunet", "scrfd"] = "auto"
    path: Path | None = None
    """YuNet's ONNX file, or the directory of an insightface pack."""
    max_side: int = Field(640, ge=64, le=8192)
    """Detect on the frame shrunk to this longer side (pixels); crops come from full resolution."""
    min_face_px: int = Field(32, ge=12, le=2000)
    """Smallest face MTCNN searches for, in pixels of the shrunk frame."""
    batch: int = Field(4, ge=1, le=64)
    """Frames per detector call, over all cameras."""


class TrackerConfig(_Section):
    """ByteTrack."""

    lost_s: float = Field(1.0, gt=0, le=60)
    """A track ends after this many seconds without a sighting."""
    high_confidence: float = Field(0.7, ge=0, le=1)
    """Detections below this may continue a track, but never start one."""
    min_iou: float = Field(0.1, gt=0, lt=1)
    """Overlap with the predicted box needed to continue a track."""


class ScorerConfig(_Section):
    """The quality model."""

    weights: Path | None = None
    """A ``.safetensors`` or ``.pt`` file of a supported family; the built-in model by default."""
    card: str | None = None
    """The file's model card (a name that ships with facegate, or a YAML file), where it carries none."""
    quality: Literal["vitnt", "attention", "norm", "estimate"] | None = None
    """The number that stands for quality; the card's choice by default."""
    blocks: tuple[int, ...] | None = None
    """Blocks that ViTNT-FIQA scores, increasing; the card's by default."""
    aggregation: Literal["uniform", "attention", "attention_mean"] = "attention"
    distance: Literal["euclidean", "cosine"] = "euclidean"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    backend: Literal["auto", "torch", "onnxruntime", "openvino"] = "auto"
    exits: Path | None = None
    """Table of ``facegate calibrate-exit``: crops clearly below the gate leave the network early."""
    max_frames: int = Field(16, ge=1, le=256)
    """Frames whose crops may share a batch."""
    wait_ms: float = Field(0.0, ge=0, le=1000)
    """Wait this long for more frames before scoring. Worth it on a GPU; on a CPU batches grow by themselves."""
    budget_ms: float = Field(1000.0, gt=0, le=60_000)
    """A batch may take this long; of live cameras, crops that do not fit end as not_scored."""


class LimitsConfig(_Section):
    """What a single face must fulfil."""

    max_face_px: float | None = Field(None, gt=0)
    border_px: float = Field(0, ge=0)
    """Least distance from the frame's border."""
    min_confidence: float = Field(0, ge=0, le=1)
    max_yaw_deg: float | None = Field(None, gt=0, le=90)
    max_pitch_deg: float | None = Field(None, gt=0, le=90)
    max_roll_deg: float | None = Field(None, gt=0, le=180)


class OnlineConfig(_Section):
    """A threshold that follows the camera."""

    discard: float = Field(ge=0, lt=1)
    """Share of faces to drop."""
    low: int = Field(0, ge=0, le=100)
    high: int = Field(100, ge=0, le=100)
    warm_up: int = Field(500, ge=1)
    """Faces before the threshold moves."""
    memory: int = Field(5000, ge=10)
    """Faces after which the past counts half."""
    state: Path | None = None
    """Folder in which each camera's threshold is kept from run to run."""


class PeopleConfig(_Section):
    """What is done with the embedding that comes free with the score."""

    guard: bool = True
    """Split a track that passes from one person to another."""
    merge_s: float = Field(0, ge=0, le=600)
    """Somebody who comes back within this time goes on under the old track."""
    cooldown_s: float = Field(0, ge=0)
    """A person is not sent again by this camera within this time."""
    group: str | None = None
    """Cameras of one group do not send the same person twice within ``group_s``."""
    group_s: float = Field(60, gt=0)


class GateConfig(_Section):
    """Which faces are let through. A camera may override any of it under its own ``gate``."""

    min_quality: int = Field(5, ge=0, le=100)
    """Faces below this quality (0..100) are dropped. Low on purpose: each track sends its best anyway."""
    hysteresis: int = Field(0, ge=0, le=50)
    """Once a track has passed, its faces pass down to ``min_quality - hysteresis``."""
    mode: Literal["end", "early", "interval"] = "end"
    """``end``: the best of a track when it leaves. ``early``: as soon as one is good enough. ``interval``: the best
    of every so many seconds."""
    good_enough: int = Field(60, ge=0, le=100)
    """Of ``early``: quality at which a face is sent at once."""
    improve_margin: int = Field(10, ge=1, le=100)
    """After a shot, only a face better by this much is worth another."""
    every_s: float = Field(5.0, gt=0)
    """Of ``interval``."""
    max_wait_s: float = Field(5.0, gt=0)
    """When somebody stays, the best shot so far is sent after this many seconds."""
    top_k: int = Field(1, ge=1, le=10)
    """Shots kept per track, apart from each other."""
    apart_s: float = Field(1.0, ge=0)
    apart_deg: float = Field(15.0, ge=0)
    """Shots are apart by this time or by this much yaw."""
    max_shots: int = Field(20, ge=1, le=1000)
    """Forwards per track, whatever else is set."""
    min_track_faces: int = Field(1, ge=1)
    """Shorter tracks send nothing."""
    min_face_px: float = Field(24, ge=0)
    """Faces narrower than this many pixels of the full frame are dropped before scoring."""
    primary_px: float | None = Field(None, ge=0)
    """Turnstile or kiosk: only the largest face counts, if it is at least this wide."""
    per_minute: int | None = Field(None, ge=0)
    """Forwards within any minute, at most."""
    shadow: float = Field(0, ge=0, le=1)
    """Share of rejects that is forwarded and marked, to estimate what the gate costs."""
    dry_run: bool = False
    """Decide and count, but send nothing."""
    limits: LimitsConfig = LimitsConfig()
    online: OnlineConfig | None = None
    people: PeopleConfig = PeopleConfig()


class _OnDisk(_Section):
    """What holds for every spool."""

    synchronous: Literal["normal", "full"] = "normal"
    """``normal`` survives the death of the process, ``full`` also a power cut, at the price of speed."""
    max_mb: int = Field(1000, ge=1)
    max_age_h: float | None = Field(None, gt=0)
    """What has waited longer is erased and counted."""


class SpoolConfig(_OnDisk):
    """Shots on disk until they are acknowledged."""

    path: Path
    when_full: Literal["block", "drop_oldest", "stop"] = "block"


class OtherConfig(_OnDisk):
    """Another place for shots, beside the workers. When its spool is full, the oldest go and are counted."""

    kind: Literal["lines", "folder", "webhook", "mqtt", "jetstream"]
    """``lines``: a file, a JSON line per shot. ``folder``: crops with an index. ``webhook``: a POST per shot.
    ``mqtt``: a broker, with discovery by Home Assistant. ``jetstream``: a NATS server's stream."""
    to: str = Field(min_length=1, max_length=2000)
    """The file, the folder, or the URL."""
    spool: Path
    """Shots wait here; a spool of its own."""
    secret: str | None = Field(None, min_length=8)
    """Of a webhook: key of the signature."""
    plain: bool = False
    """Allow an address on another host without TLS."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        schemes = {"webhook": ("http", "https"), "mqtt": ("mqtt", "mqtts"), "jetstream": ("nats", "tls")}.get(
            self.kind, ()
        )
        parts = urlsplit(self.to)
        # Reading a port that is none raises ValueError.
        if schemes and (parts.scheme not in schemes or not parts.hostname or parts.port == 0):
            raise ValueError(f"a {self.kind} goes to {schemes[1]}://HOST or, on this host, {schemes[0]}://HOST")
        if schemes and parts.scheme == schemes[0] and parts.hostname not in LOCAL and not self.plain:
            raise ValueError(
                f"{schemes[0]}:// to another host is not encrypted: use {schemes[1]}://, or say 'plain: true'"
            )
        if self.kind == "mqtt" and not re.fullmatch(r"(/[\w.-]+)*/?", parts.path):
            raise ValueError("the path of an MQTT address is the topic prefix: letters, digits, '_', '.', '-', '/'")
        if self.kind != "webhook" and self.secret is not None:
            raise ValueError("only a webhook has a secret")
        return self


class DeliveryConfig(_Section):
    """Where shots go."""

    bind: Endpoint | None = DEFAULT_BIND
    """ZeroMQ endpoint for workers; ``null`` where shots go to other places alone."""
    keys: Path | None = None
    """Folder of ``facegate keys``: delivery is encrypted, and only known workers get in."""
    plain: bool = False
    """Allow workers on other hosts without keys: anybody who connects gets faces."""
    linger_s: float = Field(30.0, ge=0, le=3600)
    """At the end, wait this many seconds for workers to acknowledge what was sent."""
    max_pending: int = Field(1000, ge=1, le=100_000)
    """Shots kept in memory for workers; when full, the pipeline waits and live cameras skip frames."""
    spool: SpoolConfig | None = None
    """Keep shots on disk until a worker has acknowledged them; they survive the death of the gate."""
    telemetry: Endpoint | None = None
    """ZeroMQ endpoint (PUB) where the run's report is told every second."""
    context_px: int | None = Field(None, ge=64, le=1280)
    """Send the whole picture with each shot, shrunk to this longer side."""
    embedding: bool = False
    """Send the face's template with each shot."""
    others: tuple[OtherConfig, ...] = Field((), max_length=16)

    @model_validator(mode="after")
    def _shots_go_somewhere(self) -> Self:
        if self.bind is None and not self.others:
            raise ValueError("shots would go nowhere: give an endpoint to bind, or other places")
        if self.bind is None and self.spool is not None:
            raise ValueError("this spool is for workers, and without an endpoint to bind there are none")
        return self

    @model_validator(mode="after")
    def _every_spool_is_its_own(self) -> Self:
        spools = [other.spool for other in self.others] + ([self.spool.path] if self.spool else [])
        if len(set(spools)) < len(spools):
            raise ValueError("every place that shots go to needs a spool of its own")
        return self


class RunConfig(_Section):
    """A whole run."""

    cameras: tuple[CameraConfig, ...] = Field(min_length=1)
    detector: DetectorConfig = DetectorConfig()
    tracker: TrackerConfig = TrackerConfig()
    scorer: ScorerConfig = ScorerConfig()
    gate: GateConfig = GateConfig()
    delivery: DeliveryConfig = DeliveryConfig()

    def gate_for(self, camera: str) -> GateConfig:
        """The gate of one camera: the common one with the camera's own settings on top."""
        own = next(item.gate for item in self.cameras if item.name == camera)
        return GateConfig.model_validate(_merged(self.gate.model_dump(), own))

    @model_validator(mode="after")
    def _every_gate_is_valid(self) -> Self:
        for index, camera in enumerate(self.cameras):
            try:
                self.gate_for(camera.name)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                place = ".".join(str(part) for part in first["loc"])
                raise ValueError(f"cameras[{index}].gate.{place}: {first['msg']}") from None
        return self

    @field_validator("cameras")
    @classmethod
    def _unique_names(cls, cameras: tuple[CameraConfig, ...]) -> tuple[CameraConfig, ...]:
        names = [camera.name for camera in cameras]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"camera names must be unique, '{twice[0]}' occurs twice")
        return cameras


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` on top, section by section."""
    merged = dict(base)
    for key, value in changes.items():
        known = merged.get(key)
        merged[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def build_config(data: Any, where: str = "configuration") -> RunConfig:
    """Validate plain data.

    Raises:
        ConfigError: one line that names the place, the problem and, for an unknown key, the nearest known one.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected keys such as 'cameras:', got {type(data).__name__}")
    try:
        return RunConfig.model_validate(_expand(data, where))
    except ValidationError as error:
        # A misspelt key is also a missing one; the spelling is the better hint.
        first = min(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
        raise ConfigError(" ".join(f"{where}: {_explain(first)}".split())) from None


def load_config(path: Path) -> RunConfig:
    """Read and validate a YAML file.

    Raises:
        ConfigError: unreadable, not YAML, or not valid.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {(error.strerror or 'unknown error').lower()}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" near line {mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{path} is not valid YAML{line}: {getattr(error, 'problem', None) or 'not text'}"
        ) from error
    return build_config(data, str(path))


def config_for(source: str | Path | RunConfig) -> RunConfig:
    """Return the configuration a user means by ``source``: a config file, or one camera with defaults.

    Raises:
        ConfigError: the configuration is not valid.
        SourceError: a file that is not there (told before the models are loaded, which takes seconds).
    """
    if isinstance(source, RunConfig):
        return source
    text = str(source)
    if "://" not in text and Path(text).suffix.lower() in (".yaml", ".yml"):
        return load_config(Path(text))
    if not text.isdecimal() and "://" not in text and not Path(text).exists():
        raise SourceError(f"no video file at {text}: check the path")
    stem = Path(text).stem if "://" not in text else "camera"
    name = re.sub(r"[^\w.-]", "_", stem)[:64] or "camera"
    return RunConfig(cameras=(CameraConfig(name="webcam" + name if name.isdecimal() else name, source=text),))


def _expand(value: Any, where: str) -> Any:
    """Replace ``${NAME}`` in strings from the environment."""
    if isinstance(value, dict):
        return {key: _expand(item, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, where) for item in value]
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)\}", lambda match: _from_environment(match.group(1), where), value)
    return value


def _from_environment(name: str, where: str) -> str:
    if name not in os.environ:
        raise ConfigError(f"{where}: environment variable {name} is not set")
    return os.environ[name]


def _explain(error: Any) -> str:
    location: tuple[Any, ...] = error["loc"]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    if error["type"] == "extra_forbidden":
        known = _keys_at(location[:-1])
        close = get_close_matches(str(location[-1]), known, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}"
        return f"{place}: unknown key, {hint}"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    tell = isinstance(given, str | int | float | bool) and error["loc"][-1:] != ("secret",)
    shown = f" (got {redact(str(given))!r})" if tell else ""
    return f"{place}: {message[:1].lower()}{message[1:]}{shown}"


def _keys_at(location: tuple[Any, ...]) -> list[str]:
    """Names of the fields of the section at ``location``."""
    model: type[BaseModel] = RunConfig
    for part in location:
        if not isinstance(part, int):
            model = _section_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, perhaps inside a tuple or beside ``None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _section_in(inner)) is not None), None)
