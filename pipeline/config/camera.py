"""``cameras``: one entry per camera."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from facegate.pipeline.addresses import has_login, login_problem, parse_server, suspicious
from facegate.pipeline.config.values import Aspect, Name, Polygon, Region, Section, Text, ratio


class CameraConfig(Section):
    """One camera."""

    name: Name
    """Name of the camera, in every record and file name: 1 to 64 letters, digits, ``_``, ``.`` and ``-``."""
    source: Text
    """``rtsp(s)://`` or ``http(s)://`` URL, video file, folder of pictures, or webcam (``0``, ``/dev/video0``).
    ``${NAME}`` is replaced from the environment."""
    film: bool = False
    """Pictures of a folder are the frames of a film, 25 per second in order of their names. By default each picture
    is independent; with times in ``timestamps.csv`` they are a film."""

    enabled: bool = True
    """``false`` keeps the camera in the file and does not open it."""
    user: Text | None = None
    """User name of the camera's login. facegate encodes it for the URL, so any character is allowed."""
    password: Text | None = None
    """Password of the camera's login, best as ``${NAME}`` from the environment. Needs ``user``."""
    password_file: Path | None = None
    """File that holds the password, read at every connection; instead of ``password``. Needs ``user``."""
    main_stream: Text | None = None
    """URL of the same camera's high-resolution stream: faces are detected in ``source`` (the sub stream) and crops
    are cut from this one, which is decoded only while a face is worth it. By default crops come from ``source``."""
    onvif_events: Text | None = None
    """URL of the camera's ONVIF device service, such as ``http://10.0.0.5/onvif/device_service``: nothing of the
    stream is decoded until the camera itself reports a face, a person or motion. The login is that of the stream.
    While the camera reports nothing because it cannot be reached, everything is decoded. Off by default."""
    serial: Text | None = None
    """Serial number of the camera, as written by ``facegate discover --write``, which finds the camera again by it
    when its address has changed."""
    reconnect: bool = True
    """Reconnect to a lost live camera, without limit. ``false``: the camera ends with its stream."""
    timeout_s: float = Field(5.0, gt=0, le=120)
    """Seconds without data after which a live camera counts as lost. Lower notices a failure sooner; too low drops
    cameras with long pauses between packets."""
    transport: Literal["auto", "tcp", "udp"] = "auto"
    """RTSP transport. ``auto`` takes TCP, or UDP where the server refuses TCP. ``udp`` has less delay on a good
    network; packet loss then damages pictures."""
    verify: bool = False
    """``rtsps://`` and ``https://``: refuse a camera whose certificate is not valid for its address. By default the
    connection is encrypted, and the camera's identity is not checked."""
    ca_file: Path | None = None
    """Certificates (PEM) that ``verify`` trusts, such as the camera's own; those of the system by default."""
    decoder: Literal["auto", "cpu", "cuda", "vaapi", "qsv"] = "auto"
    """``auto`` decodes in hardware where a decoder is available, else on the CPU; any other value is used without
    fallback."""
    max_fps: float | None = Field(None, gt=0)
    """Maximum number of frames per second that are processed; every frame by default. Lower saves CPU time and
    misses faces that appear briefly. All frames are still decoded. A snapshot URL is fetched this often, by default
    once per second."""
    realtime: bool = False
    """Play a file at its own speed like a live camera: frames that cannot be processed in time are dropped. By
    default every frame of a file is processed."""
    display_aspect_ratio: Aspect | None = None
    """Width to height at which the picture is meant to be displayed (``"16:9"``, ``"4:3"``, ``1.78``; 0.2 to 5),
    for recorders that send a squeezed picture without saying so. Overrides the stream's own aspect ratio, which is
    used by default. Applied before ``rotate``."""
    rotate: Literal[0, 90, 180, 270] = 0
    """Degrees by which the picture is rotated counterclockwise."""
    detect_region: Region | None = None
    """Part of the picture in which faces are detected: left, top, right, bottom as fractions of width and height (0
    to 1); the whole picture by default. A smaller region costs less and finds smaller faces."""
    zones: tuple[Polygon, ...] = ()
    """Polygons in which faces count: corners as fractions of width and height. Faces whose center is in none of
    them are dropped (``outside``). Everywhere by default."""
    mask: tuple[Polygon, ...] = ()
    """Privacy masks: polygons that are painted black before anything else; corners as fractions of width and
    height."""
    skip_still: bool = False
    """While nothing moves, process only two frames per second, even when a face is in the picture."""
    idle_fps: float | None = Field(0.5, ge=0.1)
    """Frames per second that are processed while no face is present and nothing moves; ``null`` processes every
    frame. Lower saves CPU time; a face that appears without motion is then found later (at 0.5 within 2 s)."""
    track_between_detections: bool = True
    """Between detections on the whole frame, look for known faces only where they are expected. ``false`` runs
    detection on every processed frame, which costs more."""
    hosts: tuple[Name, ...] = Field((), max_length=100)
    """In a fleet: hosts that can reach the camera; all of them by default."""
    tags: tuple[Name, ...] = Field((), max_length=100)
    """In a fleet: tags that a node must have (``facegate run --fleet URL --tag TAG``) to be assigned this camera;
    none by default."""
    neighbors: dict[Name, Annotated[float, Field(gt=0, le=3600)]] = Field(default_factory=dict, max_length=100)
    """For journeys: cameras that people reach from here, and the seconds that the way takes at most, both ways. By
    default they are learned from people whose faces both cameras have seen."""
    gate: dict[str, Any] = Field(default_factory=dict)
    """Settings of ``gate`` that differ for this camera."""
    store: dict[str, Any] = Field(default_factory=dict)
    """Settings of ``store`` that differ for this camera."""

    @property
    def aspect_ratio(self) -> float | None:
        """``display_aspect_ratio`` as a number."""
        return None if self.display_aspect_ratio is None else ratio(self.display_aspect_ratio)

    @field_validator("source", "main_stream")
    @classmethod
    def _check_login_encoding(cls, value: str | None) -> str | None:
        problem = None if value is None else login_problem(value)
        if problem is not None:
            raise ValueError(problem)
        if value is not None and "://" in value and not suspicious(value):
            parse_server(value)
        return value

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        given = [name for name in ("password", "password_file") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError("password and password_file cannot be combined: remove one")
        if given and self.user is None:
            raise ValueError(f"{given[0]} needs 'user'")
        if self.user is not None and any(has_login(url) for url in (self.source, self.main_stream) if url):
            raise ValueError("the login is given both in the URL and in 'user': remove one")
        if self.user is not None and "://" not in self.source:
            raise ValueError("'user' needs a source that is a URL")
        return self

    @model_validator(mode="after")
    def _check_certificates(self) -> Self:
        if self.ca_file is not None and not self.verify:
            raise ValueError("ca_file needs 'verify: true'")
        return self

    @model_validator(mode="after")
    def _check_main_stream(self) -> Self:
        if self.main_stream is not None and not all("://" in url for url in (self.source, self.main_stream)):
            raise ValueError("source and main_stream must both be URLs")
        return self

    @model_validator(mode="after")
    def _check_events(self) -> Self:
        if self.onvif_events is None:
            return self
        if not self.onvif_events.lower().startswith(("http://", "https://")):
            raise ValueError("onvif_events must be an http:// or https:// URL")
        if has_login(self.onvif_events):
            raise ValueError("onvif_events must not contain a login: that of the stream is used")
        if "://" not in self.source:
            raise ValueError("onvif_events needs a source that is a URL")
        return self

    @field_validator("source", mode="before")
    @classmethod
    def _webcam_index_as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
