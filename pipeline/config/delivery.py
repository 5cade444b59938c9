"""``delivery``: where shots go, and what is kept of them until they are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from facegate.pipeline.addresses import servers
from facegate.pipeline.config.values import DEFAULT_BIND, LOCAL, Endpoint, Section


class _OnDisk(Section):
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


_SCHEMES = {"webhook": ("http", "https"), "mqtt": ("mqtt", "mqtts"), "jetstream": ("nats", "tls")}


class OutputConfig(_OnDisk):
    """Another place for shots, beside the workers. When its spool is full, the oldest go and are counted."""

    kind: Literal["jsonl", "folder", "webhook", "mqtt", "jetstream", "store"]
    """``jsonl``: a file, a JSON line per shot. ``folder``: crops with an index. ``webhook``: a POST per shot.
    ``mqtt``: a broker, with discovery by Home Assistant. ``jetstream``: a NATS server's stream. ``store``: the file
    that a console on this host shows."""
    url: str | None = Field(None, min_length=1, max_length=2000)
    """Where a ``webhook``, ``mqtt`` or ``jetstream`` is."""
    path: Path | None = None
    """The file or folder of ``jsonl``, ``folder`` or ``store``."""
    spool: Path
    """Shots wait here; a spool of its own."""
    secret: str | None = Field(None, min_length=8)
    """Of a webhook: key of the signature."""
    allow_insecure: bool = False
    """Allow an address on another host without TLS."""
    retain: bool = True
    """Of an MQTT broker: let it keep the last face, picture and quality of each camera, so that Home Assistant has
    them after a restart. ``false``: it keeps no faces, and they are unknown until the next shot."""
    console: str | None = Field(None, max_length=2000)
    """Of an MQTT broker: the address under which people reach the console, which Home Assistant links to."""

    @property
    def target(self) -> str:
        """The URL or the path, whichever this kind has."""
        return str(self.path) if self.url is None else self.url

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        schemes = _SCHEMES.get(self.kind, ())
        given, other = ("url", "path") if schemes else ("path", "url")
        if getattr(self, given) is None or getattr(self, other) is not None:
            raise ValueError(f"kind '{self.kind}' needs '{given}' and no '{other}'")
        for parts in map(urlsplit, servers(self.target) if self.kind == "jetstream" else [self.target]):
            # Reading a port that is none raises ValueError.
            if schemes and (parts.scheme not in schemes or not parts.hostname or parts.port == 0):
                raise ValueError(f"a {self.kind} goes to {schemes[1]}://HOST or, on this host, {schemes[0]}://HOST")
            if schemes and parts.scheme == schemes[0] and parts.hostname not in LOCAL and not self.allow_insecure:
                raise ValueError(
                    f"{schemes[0]}:// to another host is not encrypted: use {schemes[1]}:// or set 'allow_insecure: true'"
                )
        parts = urlsplit(self.target)
        if self.kind == "mqtt" and not re.fullmatch(r"(/[\w.-]+)*/?", parts.path):
            raise ValueError("the path of an MQTT address is the topic prefix: letters, digits, '_', '.', '-', '/'")
        if self.console is not None and not re.fullmatch(r"https?://[^\s/?#@]+(/\S*)?", self.console):
            raise ValueError("the console's address is http://HOST or https://HOST, without a login")
        if self.kind != "mqtt" and (self.console is not None or not self.retain):
            raise ValueError("'console' and 'retain' are for an MQTT broker")
        if self.kind != "webhook" and self.secret is not None:
            raise ValueError("only a webhook has a secret")
        return self


class DeliveryConfig(Section):
    """Where shots go."""

    bind: Endpoint | None = DEFAULT_BIND
    """ZeroMQ endpoint for workers; ``null`` where shots go to other places alone."""
    keys: Path | None = None
    """Folder of ``facegate keys``: delivery is encrypted, and only known workers get in."""
    allow_insecure: bool = False
    """Allow workers on other hosts without keys: anybody who connects gets faces."""
    linger_s: float = Field(30.0, ge=0, le=3600)
    """At the end, wait this many seconds for workers to acknowledge what was sent."""
    max_pending: int = Field(1000, ge=1, le=100_000)
    """Shots kept in memory for workers; when full, the pipeline waits and live cameras skip frames."""
    spool: SpoolConfig | None = None
    """Keep shots on disk until a worker has acknowledged them; they survive the death of the gate."""
    context_px: int | None = Field(None, ge=64, le=1280)
    """Send the whole picture with each shot, shrunk to this longer side."""
    embedding: bool = False
    """Send the face's template with each shot."""
    outputs: tuple[OutputConfig, ...] = Field((), max_length=16)

    @model_validator(mode="after")
    def _shots_go_somewhere(self) -> Self:
        if self.bind is None and not self.outputs:
            raise ValueError("shots would go nowhere: give an endpoint to bind, or other places")
        if self.bind is None and self.spool is not None:
            raise ValueError("this spool is for workers, and without an endpoint to bind there are none")
        return self

    @model_validator(mode="after")
    def _every_spool_is_its_own(self) -> Self:
        spools = [other.spool for other in self.outputs] + ([self.spool.path] if self.spool else [])
        if len(set(spools)) < len(spools):
            raise ValueError("every place that shots go to needs a spool of its own")
        return self
