"""``cameras``: one entry each."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from facegate.pipeline.addresses import has_login, login_problem
from facegate.pipeline.config.values import Aspect, Name, Polygon, Region, Section, Text, ratio


class CameraConfig(Section):
    """One camera."""

    name: Name
    """Appears in every record; letters, digits, ``_``, ``.``, ``-``."""
    source: Text
    """``rtsp(s)://`` or ``http(s)://`` URL, video file, folder of pictures, or webcam (``0``, ``/dev/video0``).
    ``${NAME}`` is read from the environment."""

    enabled: bool = True
    """``false`` keeps the camera in the file and leaves it alone."""
    user: Text | None = None
    """Of the camera's login; encoded for the URL, so it may hold any letter."""
    password: Text | None = None
    """Best as ``${NAME}``, from the environment."""
    password_file: Path | None = None
    """A file with the password instead, read at every connection."""
    main_stream: Text | None = None
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
    display_aspect_ratio: Aspect | None = None
    """Width to height as the picture is meant to be seen (``16:9``, ``4:3``, ``1.78``), for cameras and recorders
    that send it squeezed and do not say so. Before ``rotate``; a ratio in the stream is followed by itself."""
    rotate: Literal[0, 90, 180, 270] = 0
    """Turn the picture counter-clockwise by this many degrees."""
    detect_region: Region | None = None
    """Look for faces in this part alone: left, top, right, bottom as fractions of the picture."""
    zones: tuple[Polygon, ...] = ()
    """Faces whose middle is in none of these polygons are dropped; corners as fractions of width and height."""
    mask: tuple[Polygon, ...] = ()
    """Parts that nobody may look at: black before anything else."""
    skip_still: bool = False
    """Do not look at frames in which nothing has moved, but twice a second."""
    idle_fps: float | None = Field(0.5, ge=0.1)
    """Looks per second while nobody is there and nothing moves; ``null`` looks at every frame."""
    track_between_detections: bool = True
    """Between searches of the whole picture, follow known faces; ``false`` searches every picture."""
    hosts: tuple[Name, ...] = Field((), max_length=100)
    """In a fleet: hosts that reach the camera; all do where this is empty."""
    tags: tuple[Name, ...] = Field((), max_length=100)
    """In a fleet: what the gate that watches it must have (``facegate run --fleet … --tag``), each of them."""
    gate: dict[str, Any] = Field(default_factory=dict)
    """Settings of ``gate`` that differ for this camera."""

    @property
    def aspect_ratio(self) -> float | None:
        """``display_aspect_ratio`` as a number."""
        return None if self.display_aspect_ratio is None else ratio(self.display_aspect_ratio)

    @field_validator("source", "main_stream")
    @classmethod
    def _login_is_encoded(cls, value: str | None) -> str | None:
        problem = None if value is None else login_problem(value)
        if problem is not None:
            raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        given = [name for name in ("password", "password_file") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError("give password or password_file, not both")
        if given and self.user is None:
            raise ValueError(f"{given[0]} needs a user beside it")
        if self.user is not None and any(has_login(url) for url in (self.source, self.main_stream) if url):
            raise ValueError("the login stands in the URL and in 'user': give it once")
        if self.user is not None and "://" not in self.source:
            raise ValueError("only a camera behind a URL has a login")
        return self

    @model_validator(mode="after")
    def _two_streams_are_two_urls(self) -> Self:
        if self.main_stream is not None and not all("://" in url for url in (self.source, self.main_stream)):
            raise ValueError("main_stream needs two streams: source and main_stream must both be URLs")
        return self

    @field_validator("source", mode="before")
    @classmethod
    def _webcam_number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
