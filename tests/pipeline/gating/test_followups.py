"""Asking again: an unsure answer earns a track another, different shot; a sure one closes it."""

from __future__ import annotations

from facegate.pipeline.gating.gate import FEEDBACK_TIMEOUT_S, Decision, GatePolicy
from facegate.pipeline.records import Outcome, Reason, RecognitionFeedback, Shot

from .faces import ANN, BOB, frame, make, seen


def asking(**settings: object) -> GatePolicy:
    gate = make(min_quality=0, max_wait_s=100.0, **settings)
    gate.set_feedback_expected(True)
    return gate


def says(gate: GatePolicy, decisions: list[Decision], *, sure: bool) -> list[Decision]:
    """Answer the last shot in ``decisions``."""
    return gate.on_feedback(RecognitionFeedback(shots(decisions)[-1].shot_id, sure, sure, 0.4, 0.1))


def shots(decisions: list[Decision]) -> list[Shot]:
    return [decision.shot for decision in decisions if decision.shot is not None]


def test_an_unsure_answer_earns_another_shot_until_one_is_sure() -> None:
    gate = asking()
    for i, quality in enumerate((50, 90, 30, 70)):
        gate.step(frame(5 * i, seen(5 * i, 1, quality)))
    first = gate.step(frame(20, ended=(1,)))
    assert [s.quality for s in shots(first)] == [90] and gate.is_held(1)
    second = says(gate, first, sure=False)
    assert [(s.quality, s.reason, s.rank) for s in shots(second)] == [(70, Reason.FOLLOW_UP, 2)]
    last = says(gate, second, sure=True)
    assert [d.outcome for d in last] == [Outcome.SUPERSEDED] * 2 and not gate.is_held(1)


def test_of_faces_as_good_the_one_least_like_what_was_sent_is_asked_for() -> None:
    gate = asking()
    gate.step(frame(0, seen(0, 1, 80, who=ANN)))
    gate.step(frame(1, seen(1, 1, 79, who=ANN)))
    gate.step(frame(10, seen(10, 1, 60, who=ANN)))
    gate.step(frame(20, seen(20, 1, 70, who=BOB)))
    first = gate.step(frame(30, ended=(1,)))
    second = says(gate, first, sure=False)
    third = says(gate, second, sure=False)
    assert [s.quality for s in shots(first + second + third)] == [80, 70, 79]
    last = says(gate, third, sure=False)
    assert not shots(says(gate, last, sure=False)) and not gate.is_held(1), "nothing is left"


def test_among_poor_faces_one_that_is_hardly_different_but_much_better_is_asked_for() -> None:
    gate = asking()
    for at, quality, who in ((0, 9, ANN), (10, 8, 0.7 * ANN + 0.7 * BOB), (20, 1, BOB)):
        gate.step(frame(at, seen(at, 1, quality, who=who)))
    first = gate.step(frame(30, ended=(1,)))
    assert [s.quality for s in shots(first + says(gate, first, sure=False))] == [9, 8]


def test_faces_far_away_are_sent_once_and_again_only_when_they_come_nearer() -> None:
    gate = asking()
    for i, (quality, width) in enumerate(((50, 22), (40, 26), (30, 27), (20, 40))):
        gate.step(frame(5 * i, seen(5 * i, 1, quality, box=(100, 100, 100 + width, 140))))
    first = gate.step(frame(30, ended=(1,)))
    second = says(gate, first, sure=False)
    assert [s.quality for s in shots(first + second)] == [50, 20]
    assert not shots(says(gate, second, sure=False)), "nothing wide enough is left"


def test_no_more_than_so_many_shots_are_earned() -> None:
    gate = asking(max_followups=2)
    for i in range(10):
        gate.step(frame(5 * i, seen(5 * i, 1, 50 + i)))
    decisions = gate.step(frame(60, ended=(1,)))
    sent = len(shots(decisions))
    while answered := shots(decisions):
        decisions = gate.on_feedback(RecognitionFeedback(answered[-1].shot_id, False, False, 0.0, 0.0))
        sent += len(shots(decisions))
    assert sent == 3 and not gate.is_held(1)


def test_a_track_that_goes_on_is_asked_less_and_less_often_and_keeps_a_chance_for_its_end() -> None:
    gate = asking(mode="early", good_enough=40, improve_margin=50)
    sent: list[float] = []
    decisions = gate.step(frame(0, seen(0, 1, 40)))
    for i in range(1, 200):
        if shots(decisions):
            sent.append(i / 10)
            says(gate, decisions, sure=False)
        decisions = gate.step(frame(i, seen(i, 1, 41 + i % 5)))
    assert len(sent) == 4 and [b - a > 1.5 * (d - c) for a, b, c, d in [(*sent[2:4], *sent[1:3])]] == [True]
    assert [s.reason for s in shots(gate.step(frame(200, ended=(1,))))] == [Reason.FOLLOW_UP]


def test_after_a_sure_answer_nothing_more_is_sent_however_good() -> None:
    gate = asking(mode="early", good_enough=40)
    says(gate, gate.step(frame(0, seen(0, 1, 50))), sure=True)
    assert [d.outcome for d in gate.step(frame(10, seen(10, 1, 100)))] == [Outcome.SUPERSEDED]
    assert gate.step(frame(20, ended=(1,))) == []


def test_who_never_answers_holds_nothing_up_for_long() -> None:
    gate = asking()
    gate.step(frame(0, seen(0, 1, 50)))
    gate.step(frame(5, seen(5, 1, 40)))
    gate.step(frame(10, ended=(1,)))
    assert gate.is_held(1)
    late = gate.step(frame(11 + int(10 * FEEDBACK_TIMEOUT_S)))
    assert [d.outcome for d in late] == [Outcome.SUPERSEDED] and not gate.is_held(1)
    gate.set_feedback_expected(False)
    gate.step(frame(100, seen(100, 2, 50)))
    gate.step(frame(110, ended=(2,)))
    assert not gate.is_held(2), "nobody is there who answers"
