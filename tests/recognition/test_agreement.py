"""A name that several shots have to agree on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from facegate.recognition.worker.visits import VisitEvent, Visits

from .test_visits import GALLERY, NAMES, RULE, header, take, told, towards


def test_with_two_agreeing_shots_one_look_alike_shot_gives_no_name() -> None:
    visits = Visits(lambda: GALLERY, RULE, min_shots=2)
    assert told(take(visits, header(), towards(1, 0.2), 0.0)) == [("seen", None)]
    assert take(visits, header(), towards(0, 0, 0.1, 1), 1.0) == []
    assert told(take(visits, header(), towards(1, 0.1), 2.0)) == [("named", "ann")]
    assert told(visits.finish(3.0)) == [("ended", "ann")]


def test_two_shots_that_match_different_people_give_no_name_and_three_the_one_of_two() -> None:
    visits = Visits(lambda: GALLERY, RULE, min_shots=2)
    events = take(visits, header(), towards(1, 0.2), 0.0) + take(visits, header(), towards(0.1, 1), 1.0)
    assert told(events) == [("seen", None)]
    assert told(take(visits, header(), towards(0.2, 1), 2.0)) == [("named", "bob")]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), max_size=8))
def test_more_agreeing_shots_never_name_earlier_or_more_often(shots: list[tuple[float, ...]]) -> None:
    known = [sum(shot) > 0.1 and towards(*shot) for shot in shots]
    named = []
    for needed in (1, 2, 3):
        visits, events = Visits(lambda: GALLERY, RULE, min_shots=needed), list[VisitEvent]()
        first = None
        for number, vector in enumerate(known):
            if vector is False:
                continue
            events += take(visits, header(), vector, float(number))
            if first is None and any(event.event == "named" for event in events):
                first = number
        named.append(len(known) if first is None else first)
    assert named == sorted(named)
    if named[1] < len(known):
        matches = [GALLERY.match(vector, RULE).name for vector in known[: named[1] + 1] if vector is not False]
        assert max(matches.count(name) for name in NAMES) >= 2
