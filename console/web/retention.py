"""Routes ``/retention``: what is kept of each camera, and for how long."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from facegate.console.web.cameras import IfMatch
from facegate.console.web.errors import ERROR_RESPONSES, ConsoleDep, not_found
from facegate.console.web.models import ConfigVersionOut, Strict
from facegate.pipeline.config.values import Name

router = APIRouter(tags=["cameras"], responses=ERROR_RESPONSES)
Days = Annotated[float, Field(gt=0, le=36_500)]
Pixels = Annotated[int, Field(ge=64, le=1280)]


class CameraRetentionIn(Strict):
    """What is kept; omitted settings are those of all cameras, or their defaults."""

    scene_px: Pixels | None = None
    """Longer side of whole pictures; ``null`` keeps none."""
    scene_days: Days | None = None
    clip_s: Annotated[float, Field(ge=0, le=8)] | None = None
    """Seconds of video before and after the first shot of a visit; 0 keeps none."""
    days: Days | None = None
    unknown_days: Days | None = None


class RetentionIn(Strict):
    """What is kept of all cameras, and of those that differ."""

    all: CameraRetentionIn
    cameras: dict[Name, CameraRetentionIn] = Field(default_factory=dict)
    """Settings that differ, by camera; others have those of all cameras."""


class RetentionOut(BaseModel):
    """What is kept of all cameras, and of those that differ."""

    config: str
    """Version of the configuration; send it as ``If-Match`` to change only this version."""
    days: float
    """Limit of ``facegate serve --days``, which applies where no other is set."""
    max_mb: int
    """Limit of ``--max-mb``."""
    all: dict[str, Any]
    cameras: dict[str, dict[str, Any]]
    """Settings that differ, by camera."""
    disk: dict[str, int]
    """Bytes of ``store`` and ``recordings``, and ``free`` bytes of the disk."""


@router.get("/retention")
def retention(console: ConsoleDep) -> RetentionOut:
    """What is kept of each camera."""
    version = console.supervisor.running()
    return RetentionOut(
        config=version.tag,
        days=console.limits.days,
        max_mb=console.limits.max_mb,
        all=version.content.get("store") or {},
        cameras={str(each["name"]): each.get("store") or {} for each in version.content.get("cameras") or []},
        disk=console.disk(),
    )


@router.put("/retention")
def change_retention(console: ConsoleDep, new: RetentionIn, if_match: IfMatch = None) -> ConfigVersionOut:
    """Change what is kept. What is older than a new limit is deleted within a minute."""

    def edit(data: Any) -> None:
        known = {str(each["name"]): each for each in data["cameras"]}
        for name in new.cameras:
            if name not in known:
                raise not_found(f"camera {name}")
        _set(data, new.all)
        for name, each in known.items():
            _set(each, new.cameras.get(name, CameraRetentionIn()))

    return ConfigVersionOut(config=console.supervisor.change(edit, if_match).tag)


def _set(holder: Any, given: CameraRetentionIn) -> None:
    own = {**(holder.get("store") or {})}
    for key in CameraRetentionIn.model_fields:
        own.pop(key, None)
    own |= given.model_dump(exclude_unset=True)
    if own:
        holder["store"] = own
    else:
        holder.pop("store", None)
