"""Events say where somebody was before."""

from __future__ import annotations

from typing import Any

import msgspec

from facegate.recognition.journeys.assembly import MAX_GAP_S
from facegate.recognition.worker.visit_state import CameFrom, VisitEvent
from facegate.recognition.worker.walks import Walks


def event(visit: str, camera: str, seen_at: float | None, lasts_s: float = 2.0, **about: Any) -> VisitEvent:
    made = VisitEvent("named", f"run/{camera}/{visit}", camera, 1, None, 0.5, 0.2, None, 1, 0.0, lasts_s, seen_at)
    return msgspec.structs.replace(made, **about)


def test_a_visit_at_another_camera_says_where_and_when_the_person_was_before() -> None:
    walks = Walks()
    assert walks.complete(event("1", "gate", 100.0, name="Ada")).came_from is None
    seen = event("2", "hall", 110.0, name="Ada")
    assert walks.complete(seen).came_from == CameFrom("gate", "run/gate/1", 8.0)
    later = msgspec.structs.replace(seen, event="ended", last_pts_s=30.0)
    assert walks.complete(later).came_from == CameFrom("gate", "run/gate/1", 8.0), "the same in all its events"
    assert walks.complete(event("3", "gate", 135.0, 20.0, name="Ada")).came_from == CameFrom(
        "hall", "run/hall/2", -5.0
    )
    assert walks.complete(event("4", "gate", 160.0, name="Ada")).came_from is None, "the same camera"


def test_nobody_comes_from_where_another_was_or_from_long_ago() -> None:
    walks = Walks()
    walks.complete(event("1", "gate", 100.0, name="Ada"))
    walks.complete(event("2", "gate", 100.0, unknown_id=4))
    for about in ({"name": "Bob"}, {"unknown_id": 5}, {}):
        assert walks.complete(event("3", "hall", 110.0, **about)).came_from is None
    assert walks.complete(event("4", "hall", None, name="Ada")).came_from is None
    assert walks.complete(event("5", "hall", 102.0 + MAX_GAP_S + 1, name="Ada")).came_from is None
    assert walks.complete(event("6", "hall", 110.0, unknown_id=4)).came_from == CameFrom("gate", "run/gate/2", 8.0)
