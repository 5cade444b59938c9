"""Which faces are scored: those that may win, and those that a policy needs to see."""

from __future__ import annotations

from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facegate.pipeline.gating.limits import GateSettings
from facegate.pipeline.gating.scoring_scheduler import GAP_S, MAX_UNSCORED_S, PRIOR_SPREAD, ScoringScheduler
from facegate.pipeline.records import Image, ScoredFace, TrackedFace

from ..gating.faces import SIDE, seen


def portrait(seed: int = 0, blur: float = 0.0) -> Image:
    """Something with structure; one per person, sharper or softer."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(0, 256, (9, 9, 3)).astype(np.uint8), (112, 112), interpolation=cv2.INTER_CUBIC)
    picture = np.clip(coarse.astype(int) + rng.integers(-12, 13, coarse.shape), 0, 255).astype(np.uint8)
    return picture if not blur else cv2.GaussianBlur(picture, (0, 0), blur).astype(np.uint8)


ANNS, BOBS = portrait(1), portrait(2)


def face(at_s: float, crop: Image = ANNS, track: int = 1, **how: Any) -> ScoredFace:
    """As it would be once scored with quality 50, or what ``quality`` says."""
    scored = seen(round(1000 * at_s), track, how.pop("quality", 50), pts_s=at_s, **how)
    return msgspec.structs.replace(scored, face=msgspec.structs.replace(scored.face, crop=crop))


def step(contest: ScoringScheduler, *faces: ScoredFace) -> list[bool]:
    wanted = contest.select([TrackedFace(face=item.face, track_id=item.track_id) for item in faces])
    contest.scored([item for item, want in zip(faces, wanted, strict=True) if want])
    return wanted


def contest(everything: bool = False, **gate: Any) -> ScoringScheduler:
    return ScoringScheduler(GateSettings(**gate), "run", everything=everything)


def play(subject: ScoringScheduler, qualities: list[int], crops: list[Image], every_s: float = 0.2) -> list[bool]:
    return [
        step(subject, face(index * every_s, crop, quality=quality))[0]
        for index, (quality, crop) in enumerate(zip(qualities, crops, strict=True))
    ]


def test_somebody_who_sits_still_is_scored_at_first_and_now_and_then() -> None:
    wanted = play(contest(), [50] * 60, [ANNS] * 60)
    assert wanted[0] and sum(wanted) <= 15
    assert sum(wanted[40:]) <= 4, "the more often nothing was found, the seldomer"
    longest = max(b - a for a, b in zip(np.flatnonzero(wanted), np.flatnonzero(wanted)[1:], strict=False))
    assert longest * 0.2 <= MAX_UNSCORED_S + 0.01


def test_a_face_that_looks_better_than_the_best_is_scored_and_one_that_looks_worse_is_not() -> None:
    soft, sharp = portrait(1, 3.0), portrait(1)
    assert play(contest(), [40, 40], [soft, sharp]) == [True, True]
    assert play(contest(), [60, 60], [sharp, soft]) == [True, False]
    subject = contest()
    step(subject, face(0.0))
    assert step(subject, face(0.2, points=SIDE)) == [False], "a profile after a frontal face"


def test_whoever_may_be_somebody_else_is_scored() -> None:
    assert play(contest(), [50, 50], [ANNS, BOBS]) == [True, True], "other looks in the same track"
    subject = contest()
    assert step(subject, face(0.0)) == [True] and step(subject, face(0.2)) == [False]
    step(subject)
    assert step(subject, face(0.2 + GAP_S + 0.1)) == [True], "after a gap"
    subject = contest()
    away = {"box": (300.0, 100.0, 380.0, 190.0)}
    step(subject, face(0.0), face(0.0, BOBS, 2, **away))
    assert step(subject, face(0.2), face(0.2, BOBS, 2, **away)) == [False, False]
    near = {"box": (150.0, 100.0, 230.0, 190.0)}
    assert step(subject, face(0.4), face(0.4, BOBS, 2, **near)) == [True, True], "one beside the other"


def test_a_new_track_is_scored_and_an_ended_one_forgotten() -> None:
    subject = contest()
    assert step(subject, face(0.0)) == [True]
    subject.ended([1])
    assert step(subject, face(0.2)) == [True]


def test_where_looks_are_seldom_that_alone_is_no_gap() -> None:
    assert sum(play(contest(), [50] * 40, [ANNS] * 40, every_s=GAP_S + 0.1)) < 25


def test_a_clock_that_jumps_back_is_no_reason_to_leave_a_face_out() -> None:
    subject = contest()
    step(subject, face(100.0))
    assert step(subject, face(3.0)) == [True]


def test_shadow_samples_see_every_face_and_everything_means_everything() -> None:
    assert all(play(contest(shadow_rate=1.0), [50] * 10, [ANNS] * 10))
    assert all(play(contest(everything=True), [50] * 10, [ANNS] * 10))


def test_after_a_shot_only_what_may_beat_it_by_the_margin_is_scored() -> None:
    drifting = [cv2.add(ANNS, np.full_like(ANNS, 2 * i)).astype(np.uint8) for i in range(40)]
    counts = {
        margin: sum(play(contest(mode="early", good_enough=40, improve_margin=margin), [50] * 40, drifting))
        for margin in (1, 40)
    }
    assert counts[40] < counts[1]


def test_a_hopeless_face_is_compared_with_the_gate_and_not_with_its_own_best() -> None:
    moving = [portrait(1, 3.0 - 0.14 * i) for i in range(20)]
    hopeless = play(contest(min_quality=60, max_wait_s=100.0), [1] * 20, moving)
    hopeful = play(contest(min_quality=0, max_wait_s=100.0), [1] * 20, moving)
    assert sum(hopeless) < sum(hopeful) / 2


@pytest.mark.parametrize("settings_", [{"mode": "interval", "interval_s": 0.5}, {"top_k": 3, "min_gap_s": 0.5}])
def test_modes_that_send_more_than_one_score_more(settings_: dict[str, Any]) -> None:
    assert sum(play(contest(**settings_), [50] * 30, [ANNS] * 30)) > sum(play(contest(), [50] * 30, [ANNS] * 30))


def test_how_far_qualities_wander_is_learned_from_the_camera() -> None:
    rng = np.random.default_rng(0)
    calm, wild = contest(), contest()
    play(calm, [50] * 400, [ANNS] * 400)
    play(wild, [int(v) for v in rng.integers(20, 80, 400)], [ANNS] * 400)
    assert calm.spread < 0.7 * PRIOR_SPREAD and wild.spread > PRIOR_SPREAD


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 3), st.integers(1, 3)), max_size=40))
def test_the_same_faces_give_the_same_choice(items: list[tuple[int, int, int]]) -> None:
    faces = [face(0.1 * i, portrait(seed), track, quality=q) for i, (q, seed, track) in enumerate(items)]
    first, second = ([step(subject, item) for item in faces] for subject in (contest(), contest()))
    assert first == second


def test_of_a_track_whose_recognizer_is_sure_only_what_the_guard_needs_is_scored() -> None:
    moving = [portrait(1, 3.0 - 0.14 * i) for i in range(20)]
    open_, closed = contest(), contest()
    open_.conclusive_tracks = frozenset()
    closed.conclusive_tracks = frozenset({1})
    assert sum(play(closed, [1] * 20, moving)) < sum(play(open_, [1] * 20, moving))
    assert play(closed, [1], moving[:1]) == [True], "somebody may have come back under the number"


def test_after_a_shot_more_is_scored_where_a_recognizer_may_ask_for_it() -> None:
    drifting = [cv2.add(ANNS, np.full_like(ANNS, 2 * i)).astype(np.uint8) for i in range(40)]
    alone, asked = contest(), contest()
    asked.conclusive_tracks = frozenset()
    assert sum(play(alone, [50] * 40, drifting)) < sum(play(asked, [50] * 40, drifting))


def test_while_a_recognizer_is_unsure_a_poor_track_is_looked_at_more_closely_than_a_good_one() -> None:
    drifting = [cv2.add(ANNS, np.full_like(ANNS, 2 * i)).astype(np.uint8) for i in range(40)]

    def scored(quality: int, sure: frozenset[int] | None) -> int:
        subject = contest()
        subject.conclusive_tracks = sure
        return sum(play(subject, [quality] * 40, drifting))

    asked, alone = (scored(5, sure) - scored(80, sure) for sure in (frozenset[int](), None))
    assert asked > 0 and alone == 0


@pytest.mark.parametrize(
    ("gate", "crop", "dark"), [(30, ANNS // 8, True), (1, ANNS // 8, False), (30, ANNS // 2, False)]
)
def test_a_camera_that_is_too_dark_for_its_threshold_is_noticed(gate: int, crop: Image, dark: bool) -> None:
    subject = contest(min_quality=gate)
    noticed = []
    for track in range(1, 130):
        step(subject, face(track * 0.2, crop, track))
        noticed.append(subject.is_dark_camera)
    assert noticed[-1] is dark and not any(noticed[:98])
