"""``delivery``: outputs for shots, and the spools in which shots wait."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from facegate.pipeline.addresses import parse_server, servers
from facegate.pipeline.config.values import DEFAULT_BIND, LOCAL, Endpoint, Section


class _OnDisk(Section):
    """Settings of every spool."""

    synchronous: Literal["normal", "full"] = "normal"
    """``normal`` survives the death of the process; ``full`` also survives a power failure and is slower."""
    max_mb: int = Field(1000, ge=1)
    """Maximum size of the spool in MB. Higher bridges longer outages and needs more disk space."""
    max_age_h: float | None = Field(None, gt=0)
    """Hours after which a shot that could not be delivered is deleted and counted as dropped; never by default."""


class SpoolConfig(_OnDisk):
    """Spool of the shots for workers."""

    path: Path
    """SQLite file of the spool."""
    when_full: Literal["block", "drop_oldest", "stop"] = "block"
    """What happens when the spool is full: ``block`` pauses the pipeline (live cameras drop frames),
    ``drop_oldest`` deletes the oldest shots and counts them, ``stop`` ends the run with an error."""


_SCHEMES = {"webhook": ("http", "https"), "mqtt": ("mqtt", "mqtts"), "jetstream": ("nats", "tls")}


class OutputConfig(_OnDisk):
    """An output for shots besides the workers."""

    kind: Literal["jsonl", "folder", "webhook", "mqtt", "jetstream", "store"]
    """``jsonl``: a file with one JSON line per shot. ``folder``: crops with an index. ``webhook``: an HTTP POST per
    shot. ``mqtt``: a broker, with Home Assistant discovery. ``jetstream``: a NATS JetStream stream. ``store``: the
    database that a console on this host shows."""
    url: str | None = Field(None, min_length=1, max_length=2000)
    """URL of a ``webhook``, ``mqtt`` or ``jetstream`` output."""
    path: Path | None = None
    """File or folder of a ``jsonl``, ``folder`` or ``store`` output."""
    spool: Path
    """SQLite file in which shots wait until they are delivered; each output needs its own. When it is full, the
    oldest shots are deleted and counted."""
    secret: str | None = Field(None, min_length=8)
    """Webhook only: key of the HMAC signature, at least 8 characters; unsigned by default."""
    allow_insecure: bool = False
    """Allow a URL on another host without TLS."""
    retain: bool = True
    """MQTT only: the broker retains the last face, picture and quality of each camera, so that Home Assistant has
    them after a restart. ``false``: the broker stores no faces; the values are unknown until the next shot."""
    onvif_metadata: bool = False
    """MQTT only: publish each shot as ONVIF Profile M metadata (JSON) as well, below
    ``PREFIX/onvif-mj/VideoAnalytics``, for systems that read the metadata of cameras."""
    console: str | None = Field(None, max_length=2000)
    """MQTT only: URL at which browsers reach the console; Home Assistant links to it. No link by default."""

    @property
    def target(self) -> str:
        """The output's URL or path."""
        return str(self.path) if self.url is None else self.url

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        schemes: tuple[str, ...] = _SCHEMES.get(self.kind, ())
        given, other = ("url", "path") if schemes else ("path", "url")
        if getattr(self, other) is not None:
            raise ValueError(f"an output of kind '{self.kind}' takes '{given}', not '{other}'")
        if getattr(self, given) is None:
            raise ValueError(f"an output of kind '{self.kind}' needs '{given}'")
        urls = servers(self.target) if self.kind == "jetstream" else [self.target]
        for parts in map(parse_server, urls if schemes else ()):
            if parts.scheme not in schemes or not parts.hostname:
                raise ValueError(
                    f"the URL of a {self.kind} output must be {schemes[1]}://HOST or, on this host, {schemes[0]}://HOST"
                )
            if parts.scheme == schemes[0] and parts.hostname not in LOCAL and not self.allow_insecure:
                raise ValueError(
                    f"{schemes[0]}:// to another host is not encrypted: "
                    f"use {schemes[1]}:// or set 'allow_insecure: true'"
                )
        if self.kind == "mqtt" and not re.fullmatch(r"(/[\w.-]+)*/?", urlsplit(self.target).path):
            raise ValueError(
                "the path of an MQTT URL is the topic prefix: use letters, digits, '_', '.', '-' and '/' only"
            )
        if self.console is not None and not re.fullmatch(r"https?://[^\s/?#@]+(/\S*)?", self.console):
            raise ValueError("console must be http://HOST or https://HOST, without a login")
        if self.kind != "mqtt" and (self.console is not None or not self.retain or self.onvif_metadata):
            raise ValueError("'console', 'retain' and 'onvif_metadata' apply to kind 'mqtt' only")
        if self.kind != "webhook" and self.secret is not None:
            raise ValueError("'secret' applies to kind 'webhook' only")
        return self


class DeliveryConfig(Section):
    """Outputs for shots."""

    bind: Endpoint | None = DEFAULT_BIND
    """ZeroMQ endpoint that workers connect to (``tcp://HOST:PORT`` or ``ipc://FILE``); ``null`` when shots go to
    ``outputs`` only."""
    keys: Path | None = None
    """Folder made by ``facegate keys``: encrypts delivery and accepts known workers only. Without encryption by
    default."""
    allow_insecure: bool = False
    """Allow workers on other hosts without keys: anyone who can connect receives faces."""
    linger_s: float = Field(30.0, ge=0, le=3600)
    """Seconds to wait at the end of a run for workers to acknowledge what was sent. Lower exits sooner; shots that
    are not acknowledged by then are lost without a ``spool``."""
    max_pending: int = Field(1000, ge=1, le=100_000)
    """Maximum number of shots held in memory for workers, without a ``spool``. When it is reached, the pipeline
    waits and live cameras drop frames. Higher bridges longer pauses of the workers and needs more memory."""
    spool: SpoolConfig | None = None
    """Keep shots for workers on disk until they are acknowledged, so that they survive the death of the gate. In
    memory by default."""
    context_px: int | None = Field(None, ge=64, le=1280)
    """Also send the whole picture with each shot, with its longer side scaled to this many pixels; no picture by
    default. Higher shows more and sends more bytes."""
    embedding: bool = False
    """Also send the face embedding with each shot."""
    outputs: tuple[OutputConfig, ...] = Field((), max_length=16)
    """Further outputs besides the workers, at most 16."""

    @model_validator(mode="after")
    def _check_outputs(self) -> Self:
        if self.bind is None and not self.outputs:
            raise ValueError("no output for shots: set 'bind' or add an output to 'outputs'")
        if self.bind is None and self.spool is not None:
            raise ValueError("spool is for workers and bind is null: set 'bind' or remove 'spool'")
        return self

    @model_validator(mode="after")
    def _check_spools(self) -> Self:
        spools = [output.spool for output in self.outputs] + ([self.spool.path] if self.spool else [])
        if len(set(spools)) < len(spools):
            raise ValueError("each output needs its own spool file")
        return self
