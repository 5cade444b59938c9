"""Journeys: by face first, by place and time only where nobody else is possible."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from facegate.recognition.journeys.assembly import Journeys, Sighting, assemble
from facegate.recognition.journeys.travel import MIN_WALKS, Walk, learn
from facegate.recognition.matching.decision_rule import FixedThresholdRule

RULE = FixedThresholdRule(0.5)
"""Joins from similarity 0.5; speaks against below 0.2."""
WAY = {"gate": {"hall": 20.0}, "hall": {"office": 20.0}}


def face(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    row = np.array(values, np.float32)
    return row / np.linalg.norm(row)


def seen(visit: str, camera: str, first: float, last: float | None = None, **about: object) -> Sighting:
    return Sighting(visit, camera, first, first + 2 if last is None else last, **about)  # type: ignore[arg-type]


def groups(found: Journeys) -> set[frozenset[str]]:
    return {frozenset(each.visit for each in journey.visits) for journey in found.journeys}


def joined(found: Journeys, visit: str) -> str:
    return next(each.joined_by for journey in found.journeys for each in journey.visits if each.visit == visit)


def test_visits_of_one_name_are_one_journey_until_nobody_came_for_long() -> None:
    found = assemble(
        [
            seen("a", "gate", 0, name="Ada"),
            seen("b", "hall", 10, name="Ada"),
            seen("c", "office", 15, name="Bob"),
            seen("d", "gate", 700, name="Ada"),
        ]
    )
    assert groups(found) == {frozenset("ab"), frozenset("c"), frozenset("d")}
    assert [journey.first for journey in found.journeys] == [700, 15, 0]


def test_a_visit_without_a_face_to_go_by_joins_the_only_person_who_can_have_been_there() -> None:
    sightings = [
        seen("a", "gate", 0, name="Ada"),
        seen("b", "hall", 10),
        seen("c", "office", 20, name="Ada"),
    ]
    found = assemble(sightings, given=WAY)
    assert groups(found) == {frozenset("abc")} and joined(found, "b") == "place"
    assert groups(assemble(sightings)) == {frozenset("ac"), frozenset("b")}, "no way is known"


def test_where_two_people_can_have_been_there_neither_is_taken() -> None:
    sightings = [
        seen("a", "gate", 0, name="Ada"),
        seen("b", "gate", 3, name="Bob"),
        seen("c", "hall", 10),
    ]
    assert frozenset("c") in groups(assemble(sightings, given=WAY))


def test_two_unknown_faces_at_once_are_not_both_the_one_person_who_can_have_been_there() -> None:
    sightings = [seen("a", "gate", 0, name="Ada"), seen("b", "hall", 10), seen("c", "hall", 11)]
    assert groups(assemble(sightings, given=WAY)) == {frozenset("a"), frozenset("b"), frozenset("c")}


def test_a_face_decides_between_two_and_speaks_against_the_only_one() -> None:
    ada, bob = face(1, 0, 0), face(0, 1, 0)
    sightings = [
        seen("a", "gate", 0, name="Ada", embedding=ada),
        seen("b", "gate", 3, name="Bob", embedding=bob),
        seen("c", "hall", 10, embedding=face(0.2, 1, 0)),
    ]
    found = assemble(sightings, RULE, WAY)
    assert groups(found) == {frozenset("a"), frozenset("bc")} and joined(found, "c") == "face"
    stranger = [sightings[0], seen("c", "hall", 10, embedding=face(0, 0, 1))]
    assert groups(assemble(stranger, RULE, WAY)) == {frozenset("a"), frozenset("c")}


def test_an_unknown_visitor_seen_once_may_be_somebody_known_but_a_returning_one_is_not() -> None:
    first = [seen("a", "gate", 0, name="Ada"), seen("b", "hall", 10, unknown_id=4)]
    assert groups(assemble(first, given=WAY)) == {frozenset("ab")}
    again = [seen("a", "gate", 0, name="Ada"), seen("b", "hall", 10, unknown_id=4, seen_before=2)]
    assert groups(assemble(again, given=WAY)) == {frozenset("a"), frozenset("b")}


def test_nobody_is_twice_before_one_camera_at_once() -> None:
    sightings = [seen("a", "gate", 0, 20, name="Ada"), seen("b", "gate", 10, 15)]
    assert groups(assemble(sightings, given=WAY)) == {frozenset("a"), frozenset("b")}


def test_a_visit_that_joined_leads_to_the_next_one() -> None:
    sightings = [seen("a", "gate", 0, name="Ada"), seen("b", "hall", 10), seen("c", "office", 20)]
    assert groups(assemble(sightings, given=WAY)) == {frozenset("abc")}


def test_ways_are_learned_from_sure_journeys_once_there_are_enough() -> None:
    def walks(count: int) -> list[Walk]:
        return [Walk("gate", "hall", 8 + each % 3) for each in range(count)]

    assert not learn(walks(MIN_WALKS - 1)).plausible("gate", "hall", 9)
    learned = learn(walks(MIN_WALKS))
    assert learned.plausible("gate", "hall", 9) and not learned.plausible("gate", "hall", 60)
    assert not learned.plausible("hall", "gate", 9), "learned one way"
    assert learn(walks(20), {"gate": {"hall": 90}}).plausible("hall", "gate", 60), "set, both ways"
    walked = [
        seen(f"{day}{camera}", camera, 10_000 * day + place * 10, name=f"person {day}")
        for day in range(MIN_WALKS)
        for place, camera in enumerate(("gate", "hall"))
    ]
    late = [seen("x", "gate", 900_000, name="Ada"), seen("y", "hall", 900_010)]
    assert frozenset("xy") in groups(assemble([*walked, *late]))


@st.composite
def days(draw: st.DrawFn) -> list[Sighting]:
    count = draw(st.integers(0, 12))
    return [
        seen(
            f"v{place}",
            draw(st.sampled_from(["gate", "hall", "office"])),
            first := draw(st.integers(0, 200)),
            first + draw(st.integers(0, 20)),
            name=(name := draw(st.sampled_from([None, "Ada", "Bob"]))),
            unknown_id=None if name else draw(st.sampled_from([None, 1, 2])),
            seen_before=draw(st.integers(0, 1)),
            embedding=draw(st.sampled_from([None, face(1, 0, 0), face(0, 1, 0), face(1, 1, 0)])),
        )
        for place in range(count)
    ]


@given(days(), st.randoms())
def test_every_visit_is_in_one_journey_of_one_person_whatever_the_order(
    sightings: list[Sighting], random: object
) -> None:
    found = assemble(sightings, RULE, WAY)
    told = [each.visit for journey in found.journeys for each in journey.visits]
    assert sorted(told) == sorted(each.visit for each in sightings)
    by_visit = {each.visit: each for each in sightings}
    for journey in found.journeys:
        members = [by_visit[each.visit] for each in journey.visits]
        assert len({each.name for each in members} - {None}) <= 1
        assert journey.first == min(each.first for each in members)
        assert journey.last == max(each.last for each in members)
        assert [each.first for each in members] == sorted(each.first for each in members)
    shuffled = list(sightings)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert assemble(shuffled, RULE, WAY).journeys == found.journeys
