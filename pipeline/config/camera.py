"""``cameras``: one entry each."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from facegate.pipeline.config.values import Name, Polygon, Region, Section, Text


class CameraConfig(Section):
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
