"""The policies, one by one."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facegate.detectors.pose import pose
from facegate.pipeline.gating.limits import FaceLimits
from facegate.pipeline.gating.policies import BestShots, Budget, PrimaryFace, RecentPeople
from facegate.pipeline.records import (
    Outcome,
    Reason,
    ScoredFace,
)

from .faces import ANN, BOB, FRONTAL, SIDE, fates, frame, make, seen, shots


@pytest.mark.parametrize(
    ("limits", "face", "outcome"),
    [
        (FaceLimits(max_face_px=70), seen(0, 1, 90), Outcome.TOO_LARGE),
        (FaceLimits(border_px=10), seen(0, 1, 90, box=(5, 100, 85, 190)), Outcome.AT_BORDER),
        (FaceLimits(border_px=10), seen(0, 1, 90, box=(100, 400, 180, 475)), Outcome.AT_BORDER),
        (FaceLimits(min_confidence=0.95), seen(0, 1, 90), Outcome.LOW_CONFIDENCE),
        (FaceLimits(max_yaw_deg=30), seen(0, 1, 90, points=SIDE), Outcome.OFF_POSE),
        (FaceLimits(max_yaw_deg=30, max_pitch_deg=30, max_roll_deg=20), seen(0, 1, 90), None),
    ],
)
def test_a_face_that_fails_a_limit_is_dropped_with_its_reason(
    limits: FaceLimits, face: ScoredFace, outcome: Outcome | None
) -> None:
    decisions = make(limits=limits).step(frame(0, face))
    assert fates(decisions) == ([] if outcome is None else [outcome])


def test_pose_is_level_for_the_template_and_follows_the_head() -> None:
    yaw, pitch, roll = pose(seen(0, 1, 1).face.detection)
    assert abs(yaw) < 5 and abs(pitch) < 10 and abs(roll) < 1
    assert pose(seen(0, 1, 1, points=SIDE).face.detection)[0] > 30
    tilted = FRONTAL @ np.array([[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]], np.float32)
    yaw2, pitch2, roll2 = pose(seen(0, 1, 1, points=tilted).face.detection)
    assert roll2 == pytest.approx(np.degrees(0.3), abs=0.5)
    assert (yaw2, pitch2) == pytest.approx((yaw, pitch), abs=0.5)
    raised = FRONTAL - np.array([[0, 0], [0, 0], [0, 10], [0, 0], [0, 0]], np.float32)
    assert pose(seen(0, 1, 1, points=raised).face.detection)[1] > pitch + 10
    assert pose(seen(0, 1, 1, points=np.zeros((5, 2), np.float32)).face.detection)[0] == 90.0


def test_early_sends_at_once_when_good_enough_and_then_only_improvements() -> None:
    gate = make(min_quality=20, mode="early", good_enough=60, improve_margin=10, max_wait_s=100)
    sent = [shots(gate.step(frame(i, seen(i, 1, q)))) for i, q in enumerate((40, 59, 61, 65, 70, 71, 85))]
    assert sent == [[], [], [(61, Reason.GOOD_ENOUGH)], [], [], [(71, Reason.IMPROVED)], [(85, Reason.IMPROVED)]]
    assert shots(gate.step(frame(9, ended=(1,)))) == []


def test_interval_sends_the_first_at_once_and_then_the_best_of_each_interval() -> None:
    gate = make(min_quality=20, mode="interval", interval_s=1.0)
    sent = []
    for i in range(25):
        sent += [(i, q) for q, _ in shots(gate.step(frame(i, seen(i, 1, 30 + (i * 7) % 40))))]
    assert sent[0] == (0, 30)
    assert [i for i, _ in sent] == [0, 10, 20]
    assert sent[1][1] == max(30 + (i * 7) % 40 for i in range(1, 11))


def test_hysteresis_lets_a_track_dip_without_flapping() -> None:
    gate = make(min_quality=50, hysteresis=10, top_k=5, min_gap_s=0.0)
    outcomes = [fates(gate.step(frame(i, seen(i, 1, q)))) for i, q in enumerate((45, 50, 45, 39, 45, 50))]
    low = [Outcome.BELOW_THRESHOLD]
    assert [o == low for o in outcomes] == [True, False, False, True, True, False]


def test_top_k_shots_are_apart_in_time_or_yaw_and_the_best_there_are() -> None:
    gate = make(min_quality=0, top_k=2, min_gap_s=1.0, min_yaw_gap_deg=15, max_wait_s=5.0)
    qualities = {0: 50, 3: 90, 5: 80, 14: 70, 18: 60}
    for i, q in qualities.items():
        gate.step(frame(i, seen(i, 1, q)))
    end = gate.step(frame(30, ended=(1,)))
    assert [q for q, _ in shots(end)] == [90, 70]
    turned = make(min_quality=0, top_k=2, min_gap_s=100.0, min_yaw_gap_deg=15)
    turned.step(frame(0, seen(0, 1, 90), seen(0, 1, 80)))
    turned.step(frame(1, seen(1, 1, 70, points=SIDE)))
    assert [q for q, _ in shots(turned.step(frame(2, ended=(1,))))] == [90, 70]


@given(st.lists(st.tuples(st.integers(0, 100), st.floats(0, 20)), max_size=30), st.integers(1, 4))
def test_kept_shots_are_few_apart_and_hold_the_best(items: list[tuple[int, float]], k: int) -> None:
    best = BestShots(k, min_gap_s=1.0, min_yaw_gap_deg=1000)
    lost: list[ScoredFace] = []
    for seq, (quality, at) in enumerate(items):
        lost += best.add(seen(seq, 1, quality, pts_s=at))
    assert len(best.kept) <= k and len(best.kept) + len(lost) == len(items)
    for a, b in itertools.combinations(best.kept, 2):
        assert abs(a.face.frame.pts_s - b.face.frame.pts_s) >= 1.0
    if items:
        assert best.kept[0].quality == max(q for q, _ in items)


def test_a_kiosk_takes_the_largest_near_face_and_stays_with_it() -> None:
    near, nearer, far = (0, 0, 100, 100), (0, 0, 110, 110), (0, 0, 60, 60)
    primary = PrimaryFace(80)
    assert primary.track_of((seen(0, 1, 50, box=near), seen(0, 2, 50, box=far))) == 1
    assert primary.track_of((seen(1, 1, 50, box=near), seen(1, 2, 50, box=nearer))) == 1, "hardly larger"
    assert primary.track_of((seen(2, 1, 50, box=near), seen(2, 2, 50, box=(0, 0, 130, 130)))) == 2
    assert primary.track_of((seen(3, 1, 50, box=far),)) is None
    gate = make(min_quality=0, primary_face_min_px=80)
    assert fates(gate.step(frame(0, seen(0, 1, 50, box=near), seen(0, 2, 90, box=far)))) == [Outcome.NOT_PRIMARY]


def test_a_short_track_sends_nothing() -> None:
    gate = make(min_quality=0, min_track_faces=3)
    gate.step(frame(0, seen(0, 1, 90)))
    assert fates(gate.step(frame(1, seen(1, 1, 80)))) == [Outcome.SUPERSEDED]
    assert fates(gate.step(frame(2, ended=(1,)))) == [Outcome.SHORT_TRACK]


def test_a_person_is_not_sent_again_within_the_cool_down_even_on_another_track() -> None:
    gate = make(recent=RecentPeople(60.0, 0.8), min_quality=0)
    ends = []
    for seq, (track, who, at) in enumerate([(1, ANN, 0.0), (2, ANN, 30.0), (3, BOB, 31.0), (4, ANN, 61.0)]):
        gate.step(frame(seq, seen(seq, track, 80, pts_s=at, who=who), pts_s=at))
        ends += fates(gate.step(frame(seq, ended=(track,), pts_s=at)))
    assert ends == [Outcome.FORWARDED, Outcome.COOLDOWN, Outcome.FORWARDED, Outcome.FORWARDED]


@pytest.mark.parametrize("mode", ["end", "early", "interval"])
def test_no_better_face_slips_past_the_cool_down(mode: Any) -> None:
    """A track that was held back is asked again, not waved through."""
    recent = RecentPeople(60.0, 0.8)
    recent.add(seen(0, 9, 80, who=ANN), 0.0)
    gate = make(recent=recent, min_quality=0, mode=mode, good_enough=20, max_wait_s=0.1, interval_s=0.5)
    decisions = [d for i, q in enumerate((30, 45, 60, 80, 95)) for d in gate.step(frame(i, seen(i, 1, q, who=ANN)))]
    decisions += gate.step(frame(9, ended=(1,)))
    assert {d.outcome for d in decisions} <= {Outcome.COOLDOWN, Outcome.SUPERSEDED} and len(decisions) == 5


def test_cameras_of_a_group_do_not_send_the_same_person_twice() -> None:
    group = RecentPeople(60.0, 0.8)
    first, second = make(group=group, min_quality=0), make(group=group, min_quality=0)
    for gate in (first, second):
        gate.step(frame(0, seen(0, 1, 80, who=ANN)))
    assert fates(first.step(frame(1, ended=(1,)))) == [Outcome.FORWARDED]
    assert fates(second.step(frame(1, ended=(1,)))) == [Outcome.DUPLICATE]


def test_the_budget_counts_any_minute_and_a_face_may_wait_for_it() -> None:
    budget = Budget(2)
    for at in (0.0, 30.0):
        assert budget.has_left(at)
        budget.spend(at)
    assert not budget.has_left(59.9) and budget.has_left(60.0)
    gate = make(min_quality=0, max_per_minute=1, max_wait_s=0.5)
    gate.step(frame(0, seen(0, 1, 80)))
    assert len(shots(gate.step(frame(1, seen(1, 1, 50), pts_s=1.0)))) == 1
    gate.step(frame(2, seen(2, 2, 80), pts_s=2.0))
    assert shots(gate.step(frame(3, seen(3, 2, 50), pts_s=5.0))) == [], "it waits"
    assert len(shots(gate.step(frame(4, seen(4, 2, 50), pts_s=62.0)))) == 1
    gate.step(frame(5, seen(5, 3, 80), pts_s=63.0))
    assert fates(gate.step(frame(6, ended=(3,), pts_s=64.0))) == [Outcome.OVER_BUDGET]


def test_a_share_of_rejects_is_forwarded_marked_and_the_same_in_every_replay() -> None:
    def run() -> list[str]:
        gate = make(min_quality=100, shadow_rate=0.1)
        decisions = [d for i in range(1000) for d in gate.step(frame(i, seen(i, 1, 50)))]
        assert all((d.shot is not None) == (d.outcome is Outcome.SHADOW) for d in decisions)
        assert all(d.shot.reason is Reason.SHADOW and d.shot.rank == 0 for d in decisions if d.shot)
        return [d.face.face.face_id for d in decisions if d.shot]

    first = run()
    assert first == run() and 60 < len(first) < 140


def test_a_dry_run_decides_and_sends_nothing() -> None:
    gate = make(min_quality=0, dry_run=True)
    gate.step(frame(0, seen(0, 1, 80)))
    (decision,) = gate.step(frame(1, ended=(1,)))
    assert (decision.outcome, decision.shot) == (Outcome.DRY_RUN, None)
