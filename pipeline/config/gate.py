"""``gate``: which faces are let through."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from facegate.pipeline.config.values import Section


class LimitsConfig(Section):
    """What a single face must fulfil."""

    max_face_px: float | None = Field(None, gt=0)
    border_px: float = Field(0, ge=0)
    """Least distance from the frame's border."""
    min_confidence: float = Field(0, ge=0, le=1)
    max_yaw_deg: float | None = Field(None, gt=0, le=90)
    max_pitch_deg: float | None = Field(None, gt=0, le=90)
    max_roll_deg: float | None = Field(None, gt=0, le=180)


class PeopleConfig(Section):
    """What is done with the embedding that comes free with the score."""

    split_identity_switches: bool = True
    """Split a track that passes from one person to another."""
    merge_s: float = Field(3, ge=0, le=600)
    """Seconds within which somebody who comes back goes on under the old track, so that a dropout does not make two
    visits; needs a model that tells people apart. Raised, visits end later; 0 makes a new track each time."""
    cooldown_s: float = Field(0, ge=0)
    """A person is not sent again by this camera within this time."""
    group: str | None = None
    """Cameras of one group do not send the same person twice within ``group_s``."""
    group_s: float = Field(60, gt=0)


class GateConfig(Section):
    """Which faces are let through. A camera may override any of it under its own ``gate``."""

    min_quality: int = Field(1, ge=0, le=100)
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
    interval_s: float = Field(5.0, gt=0)
    """Of ``interval``."""
    max_wait_s: float = Field(0.5, gt=0)
    """When somebody stays, the best shot so far is sent after this many seconds."""
    top_k: int = Field(1, ge=1, le=10)
    """Shots kept per track, apart from each other."""
    min_gap_s: float = Field(1.0, ge=0)
    min_yaw_gap_deg: float = Field(15.0, ge=0)
    """Shots are apart by this time or by this much yaw."""
    max_shots: int = Field(20, ge=1, le=1000)
    """Forwards per track, whatever else is set."""
    max_followups: int = Field(4, ge=0, le=20)
    """Shots of a track that may follow its first while its recognizer is not sure; none in ``interval``."""
    min_track_faces: int = Field(1, ge=1)
    """Shorter tracks send nothing."""
    min_face_px: float = Field(24, ge=0)
    """Faces narrower than this many pixels of the full frame are dropped before scoring."""
    primary_face_min_px: float | None = Field(None, ge=0)
    """Turnstile or kiosk: only the largest face counts, if it is at least this wide."""
    max_per_minute: int | None = Field(None, ge=0)
    """Forwards within any minute, at most."""
    shadow_rate: float = Field(0, ge=0, le=1)
    """Share of rejects that is forwarded and marked, to estimate what the gate costs."""
    target_recall: float | None = Field(None, ge=0.5, lt=1)
    """Instead of a fixed ``min_quality``: share of identifications that must survive the threshold."""
    exploration_rate: float = Field(0.1, gt=0, le=1)
    """Of ``target_recall``: share of visits that always have ``min_quality``, to learn from."""
    max_threshold: int = Field(60, ge=0, le=100)
    """Of ``target_recall``: the threshold never rises beyond."""
    state: Path | None = None
    """Of ``target_recall``: folder in which what each camera has learned is kept from run to run."""
    dry_run: bool = False
    """Decide and count, but send nothing."""
    limits: LimitsConfig = LimitsConfig()
    identity: PeopleConfig = PeopleConfig()

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if self.target_recall is None:
            return self
        if self.hysteresis:
            raise ValueError("target_recall sets the threshold: remove hysteresis")
        if self.mode == "interval" or not self.max_followups or self.dry_run:
            raise ValueError(
                "target_recall learns from recognition feedback: it needs max_followups, and neither dry_run nor mode interval"
            )
        if self.max_threshold < self.min_quality:
            raise ValueError("max_threshold is below min_quality")
        return self
