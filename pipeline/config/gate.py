"""``gate``: which faces are forwarded."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from facegate.pipeline.config.values import Section


class LimitsConfig(Section):
    """Limits that each face must meet."""

    max_face_px: float | None = Field(None, gt=0)
    """Maximum width of a face in pixels of the full frame; wider faces end as ``too_large``. No limit by
    default."""
    border_px: float = Field(0, ge=0)
    """Minimum distance of the face box from the frame's border in pixels; closer faces end as ``at_border``. Higher
    rejects more partly visible faces; 0 turns the check off."""
    min_confidence: float = Field(0, ge=0, le=1)
    """Minimum detector confidence (0 to 1); fainter faces end as ``low_confidence``. Higher rejects more false
    detections and more poor faces."""
    max_yaw_deg: float | None = Field(None, gt=0, le=90)
    """Maximum yaw (head turned left or right) in degrees; beyond it faces end as ``off_pose``. No limit by default;
    lower is stricter."""
    max_pitch_deg: float | None = Field(None, gt=0, le=90)
    """Maximum pitch (head tilted up or down) in degrees; beyond it faces end as ``off_pose``. No limit by default;
    lower is stricter."""
    max_roll_deg: float | None = Field(None, gt=0, le=180)
    """Maximum roll (head tilted sideways) in degrees; beyond it faces end as ``off_pose``. No limit by default;
    lower is stricter."""


class PeopleConfig(Section):
    """Policies that use the embedding, which comes with the score at no extra cost."""

    split_identity_switches: bool = True
    """Split a track that passes from one person to another (identity switch). ``false`` keeps the tracker's tracks
    as they are."""
    merge_s: float = Field(3, ge=0, le=600)
    """Seconds within which a person who returns continues the old track, so that a short occlusion does not make
    two visits. Higher merges longer gaps and ends visits later; 0 starts a new track each time. Needs a model whose
    embedding distinguishes people."""
    cooldown_s: float = Field(0, ge=0)
    """Seconds in which a person who was forwarded is not forwarded again by the same camera; 0 turns it off. Higher
    sends fewer repeats. Needs a model whose embedding distinguishes people."""
    group: str | None = None
    """Name of a group of cameras: a person who was forwarded by one of them is not forwarded by the others for
    ``group_s``. No group by default. Needs a model whose embedding distinguishes people."""
    group_s: float = Field(60, gt=0)
    """Seconds in which a person is not forwarded again within ``group``. Higher sends fewer repeats."""


class GateConfig(Section):
    """Which faces are forwarded. A camera can override any setting under its own ``gate``."""

    min_quality: int = Field(1, ge=0, le=100)
    """Minimum quality (0 to 100) that passes the gate; lower faces end as ``below_threshold``. Higher forwards
    fewer and better shots and loses more people. Low by default, because each track sends its best shot only."""
    gray_min_quality: int | None = Field(None, ge=0, le=100)
    """The same for faces without color, as cameras with infrared light send them at night; ``min_quality`` by
    default. With ``target_recall``, the threshold of gray faces is learned apart, and starts here."""
    hysteresis: int = Field(0, ge=0, le=50)
    """Points below ``min_quality`` that later faces of a track may have once one face has passed. Higher makes
    short drops in quality matter less; 0 turns it off."""
    mode: Literal["end", "early", "interval"] = "end"
    """When the best shot of a track is sent. ``end``: when the track ends (or after ``max_wait_s``). ``early``: as
    soon as a face reaches ``good_enough``, and again when a later one is better by ``improve_margin``.
    ``interval``: the first face at once, then the best of every ``interval_s``."""
    good_enough: int = Field(60, ge=0, le=100)
    """Mode ``early``: quality (0 to 100) at which a face is sent at once. Lower sends sooner; higher sends better
    shots."""
    improve_margin: int = Field(10, ge=1, le=100)
    """Points by which a face must exceed the shot already sent of its track to be sent as well. Higher sends fewer
    further shots."""
    interval_s: float = Field(5.0, gt=0)
    """Mode ``interval``: seconds between two shots of a track. Higher sends fewer."""
    max_wait_s: float = Field(0.5, gt=0)
    """Seconds after which the best face so far is sent when the track goes on and nothing of it was sent. Lower
    recognizes sooner; higher waits for a better face."""
    top_k: int = Field(1, ge=1, le=10)
    """Maximum number of shots selected per track; they differ by ``min_gap_s`` or ``min_yaw_gap_deg``. Higher gives
    the recognizer more views and more work."""
    min_gap_s: float = Field(1.0, ge=0)
    """With ``top_k`` above 1: seconds between two selected shots. Higher spreads them further; shots that differ by
    ``min_yaw_gap_deg`` may be closer."""
    min_yaw_gap_deg: float = Field(15.0, ge=0)
    """With ``top_k`` above 1: difference in yaw, in degrees, between two selected shots. Higher asks for more
    different poses; shots that differ by ``min_gap_s`` may be closer."""
    max_shots: int = Field(20, ge=1, le=1000)
    """Maximum number of shots per track, over all modes. Lower bounds the cost of people who stay."""
    max_followups: int = Field(4, ge=0, le=20)
    """Maximum number of further shots of a track while its recognizer is inconclusive; not in mode ``interval``.
    Higher identifies more people and makes more recognition calls; 0 turns follow-ups off."""
    min_track_faces: int = Field(1, ge=1)
    """Minimum number of detections for a track to send a shot; shorter tracks end as ``short_track``. Higher
    rejects more false detections and misses people who pass quickly."""
    min_face_px: float = Field(20, ge=0)
    """Minimum width of a face in pixels of the full frame; narrower faces end as ``too_small`` before scoring.
    Higher saves work and rejects faces that are farther away."""
    primary_face_min_px: float | None = Field(None, ge=0)
    """For a turnstile or kiosk: only the largest face of a frame counts, if it is at least this wide in pixels; the
    others end as ``not_primary``. All faces count by default."""
    max_per_minute: int | None = Field(None, ge=0)
    """Maximum number of shots of the camera within any minute; further ones end as ``over_budget``. No limit by
    default."""
    shadow_rate: float = Field(0, ge=0, le=1)
    """Share (0 to 1) of rejected faces that is forwarded and marked as a shadow sample, to estimate what the gate
    loses. Higher estimates more precisely and costs more recognition calls."""
    target_recall: float | None = Field(None, ge=0.5, lt=1)
    """Learn the threshold from recognition feedback: the share (0.5 to below 1) of identifications that must
    survive it. ``min_quality`` is then where it starts and never goes below. Lower lets the threshold rise further,
    which avoids more calls and loses more people. Fixed threshold by default."""
    exploration_rate: float = Field(0.1, gt=0, le=1)
    """With ``target_recall``: share of visits (above 0 to 1) that keep ``min_quality`` as their threshold, to learn
    from. Higher learns faster and avoids fewer recognition calls."""
    max_threshold: int = Field(60, ge=0, le=100)
    """With ``target_recall``: upper bound of the learned threshold (0 to 100). Lower is more cautious."""
    state: Path | None = None
    """With ``target_recall``: folder in which each camera's learned threshold is kept between runs. By default each
    run learns from the start."""
    dry_run: bool = False
    """Decide and count, but send nothing; shots end as ``dry_run``."""
    limits: LimitsConfig = LimitsConfig()
    """Limits on single faces."""
    identity: PeopleConfig = PeopleConfig()
    """Policies that use the face embedding."""

    @model_validator(mode="after")
    def _check_target_recall(self) -> Self:
        if self.target_recall is None:
            return self
        if self.hysteresis:
            raise ValueError("target_recall cannot be combined with hysteresis: remove hysteresis")
        if self.mode == "interval" or not self.max_followups or self.dry_run:
            raise ValueError(
                "target_recall learns from recognition feedback: set max_followups above 0, and use "
                "neither dry_run nor mode 'interval'"
            )
        if self.max_threshold < self.min_quality:
            raise ValueError(
                f"max_threshold {self.max_threshold} is below min_quality {self.min_quality}: raise max_threshold"
            )
        return self
