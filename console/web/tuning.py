"""Routes ``/cameras/NAME/tune``: replays recorded faces with other gate settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from ruamel.yaml.comments import CommentedMap

from facegate.console.state import ConsoleState
from facegate.console.web.cameras import IfMatch
from facegate.console.web.errors import ERROR_RESPONSES, ConsoleDep, not_found
from facegate.console.web.models import ConfigVersionOut, Quality, Strict
from facegate.pipeline.config.values import Name

router = APIRouter(tags=["tuning"], responses=ERROR_RESPONSES)
Hours = Annotated[float, Query(gt=0, le=24 * 31)]


class GateUpdate(Strict):
    """Gate settings of a camera (docs/reference/settings.md); omitted settings do not change."""

    min_quality: Quality | None = None
    mode: Literal["end", "early", "interval"] | None = None
    max_per_minute: Annotated[int, Field(ge=0, le=100_000)] | None = None
    good_enough: Quality | None = None
    top_k: Annotated[int, Field(ge=1, le=10)] | None = None


class EvidenceOut(BaseModel):
    """Recorded faces of a camera, and its current gate settings."""

    since: float
    faces: int
    scored: int
    histogram: list[int]
    """Number of scored faces per quality bin: 20 bins of 5 points."""
    cut: bool
    to_read: int
    """Segments of recordings that were not read yet: ask again."""
    gate: dict[str, Any]


class TuningOutcomeOut(BaseModel):
    """Result of a replay."""

    faces: int
    shots: int
    tracks: int
    outcomes: dict[str, int]
    named: int | None
    people: list[str] | None
    to_recognize: int
    """Selected shots that were not recognized yet: ask again."""


@router.get("/cameras/{name}/tune")
def evidence(console: ConsoleDep, name: Name, hours: Hours = 24.0) -> EvidenceOut:
    """Recorded faces of a camera as a histogram of quality."""
    gate = _gate(console, name)
    return EvidenceOut(**msgspec.structs.asdict(console.tuner.evidence(name, hours)), gate=gate)


@router.post("/cameras/{name}/tune")
def play(
    console: ConsoleDep, name: Name, change: GateUpdate, hours: Hours = 24.0, named: bool = False
) -> TuningOutcomeOut:
    """Replay the recorded faces with other gate settings; changes nothing.

    Counts equal those of ``facegate replay``. With ``named``, the selected shots are also recognized.
    """
    _gate(console, name)
    changes = change.model_dump(exclude_unset=True)
    outcome = console.tuner.replay(name, hours, changes or None, named=named)
    return TuningOutcomeOut(**msgspec.structs.asdict(outcome))


@router.put("/cameras/{name}/tune")
def apply(console: ConsoleDep, name: Name, change: GateUpdate, if_match: IfMatch = None) -> ConfigVersionOut:
    """Write the gate settings of a camera to the configuration and apply them."""
    _gate(console, name)

    def edit(data: CommentedMap) -> None:
        entry = next(each for each in data["cameras"] if str(each["name"]) == name)
        gate = entry.setdefault("gate", CommentedMap())
        for key, value in change.model_dump(exclude_unset=True).items():
            if value is None:
                gate.pop(key, None)
            else:
                gate[key] = value

    return ConfigVersionOut(config=console.supervisor.change(edit, if_match).tag)


def _gate(console: ConsoleState, name: str) -> dict[str, Any]:
    config = console.supervisor.running().config
    if config is None or not any(camera.name == name for camera in config.cameras):
        raise not_found(f"camera {name}")
    gate: dict[str, Any] = config.gate_for(name).model_dump(mode="json", exclude={"state"})
    return gate
