"""The policies together, under arbitrary streams of observations and a day of crowds."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from facegate.pipeline.gating.gate import Decision, GatePolicy
from facegate.pipeline.gating.limits import GateSettings
from facegate.pipeline.gating.policies import RecentPeople
from facegate.pipeline.records import (
    Face,
    FrameRef,
    Outcome,
    RecognitionFeedback,
    ScoredFace,
    ScoredFrame,
    SkippedFace,
)

from .faces import ANN, BOB, CROP, EVE, INFO, guard, make, seen


class GateMachine(RuleBasedStateMachine):
    """Arbitrary streams through guard and gate with every policy at once."""

    @initialize(
        min_quality=st.integers(0, 80),
        hysteresis=st.integers(0, 20),
        mode=st.sampled_from(["end", "early", "interval"]),
        top_k=st.integers(1, 3),
        max_shots=st.integers(1, 4),
        max_per_minute=st.none() | st.integers(0, 5),
        shadow_rate=st.sampled_from([0.0, 0.3]),
        cooldown=st.booleans(),
        answering=st.booleans(),
        max_followups=st.integers(0, 4),
    )
    def start(
        self, min_quality: int, hysteresis: int, mode: Any, top_k: int, max_shots: int,
        max_per_minute: int | None, shadow_rate: float, cooldown: bool, answering: bool, max_followups: int,
    ) -> None:  # fmt: skip
        self.settings = GateSettings(
            min_quality=min_quality, hysteresis=hysteresis, mode=mode, top_k=top_k, max_shots=max_shots,
            max_per_minute=max_per_minute, shadow_rate=shadow_rate, max_followups=max_followups,
            max_wait_s=2.0, interval_s=1.0, min_gap_s=0.5,
        )  # fmt: skip
        recent = RecentPeople(5.0, 0.6) if cooldown else None
        self.guard = guard()
        self.gate = GatePolicy("run", "cam", self.settings, INFO, recent=recent)
        self.answering = answering and max_followups > 0 and mode != "interval"
        self.gate.set_feedback_expected(answering)
        self.sure: dict[int, int] = {}
        """Tracks of which a sure answer has come, and how many decisions there were before it."""
        self.seq, self.now = 0, 0.0
        self.seen: list[str] = []
        self.decisions: list[tuple[float, Decision]] = []
        self.alive: set[int] = set()

    @rule(
        faces=st.dictionaries(
            st.integers(0, 4),
            st.tuples(st.none() | st.integers(0, 100), st.sampled_from([ANN, BOB, EVE])),
            max_size=4,
        ),
        gap=st.floats(0.01, 3.0),
        ends=st.sets(st.integers(0, 4)),
    )
    def step(self, faces: dict[int, tuple[int | None, Any]], gap: float, ends: set[int]) -> None:
        """A face without a quality was not scored."""
        self.seq += 1
        self.now += gap
        made = [(q, seen(self.seq, track, q or 0, pts_s=self.now, who=who)) for track, (q, who) in faces.items()]
        items = tuple(face for quality, face in made if quality is not None)
        skipped = tuple(
            SkippedFace(face.face, face.track_id, Outcome.NOT_NEEDED) for quality, face in made if quality is None
        )
        self.seen += [face.face.face_id for _, face in made]
        self.alive |= set(faces)
        ended = tuple(sorted(ends & self.alive))
        self.alive -= set(ended)
        ref = FrameRef("cam", self.seq, self.now, self.now, None, 640, 480)
        self._take(ScoredFrame(ref, items, ended, skipped=skipped))

    @rule(pick=st.integers(0, 100), sure=st.booleans(), known=st.booleans())
    def answer(self, pick: int, sure: bool, known: bool) -> None:
        """Late, twice, or to a shot that was never sent."""
        shots = [d.shot for _, d in self.decisions if d.shot is not None]
        shot = shots[pick % len(shots)] if shots else None
        new = shot is not None and known and self.gate.awaits_feedback(shot.shot_id)
        if shot is not None and new and sure:
            self.sure.setdefault(shot.track_id, len(self.decisions))
        answer = RecognitionFeedback(shot.shot_id if shot is not None and known else "other", sure, sure, 0.5, 0.1)
        self.decisions += [(self.now, decision) for decision in self.gate.on_feedback(answer)]

    def _take(self, item: ScoredFrame) -> None:
        self.decisions += [(self.now, decision) for decision in self.gate.step(self.guard.step(item))]

    @invariant()
    def nothing_is_decided_twice(self) -> None:
        if hasattr(self, "decisions"):
            ids = [d.face.face.face_id for _, d in self.decisions]
            assert len(ids) == len(set(ids)) and set(ids) <= set(self.seen)

    def teardown(self) -> None:
        if not hasattr(self, "decisions"):
            return
        self.now += 1.0
        self.decisions += [(self.now, decision) for decision in self.gate.finish(self.now)]
        self.decisions += [(self.now, decision) for decision in self.gate.settle_pending()]
        assert not any(self.gate.is_held(track) for track in range(1000)) and not self.gate._shots
        for track, before in self.sure.items():
            later = [d.shot for _, d in self.decisions[before:] if d.shot is not None]
            assert track not in [shot.track_id for shot in later if shot.rank > 0]
        assert Counter(d.face.face.face_id for _, d in self.decisions) == Counter(self.seen), "conservation"
        s = self.settings
        by_track: dict[int, list[int]] = defaultdict(list)
        times: list[float] = []
        for at, decision in self.decisions:
            forwarded = decision.outcome is Outcome.FORWARDED
            assert (decision.shot is not None) == (forwarded or decision.outcome is Outcome.SHADOW)
            assert isinstance(decision.face, SkippedFace) == (decision.outcome is Outcome.NOT_NEEDED)
            if forwarded and isinstance(decision.face, ScoredFace):
                assert decision.face.quality >= s.min_quality - s.hysteresis
                by_track[decision.face.track_id].append(decision.face.quality)
                times.append(at)
        for qualities in by_track.values():
            assert len(qualities) <= s.max_shots
            if s.mode != "interval" and s.top_k == 1 and not self.answering:
                assert all(b >= a + s.improve_margin for a, b in itertools.pairwise(qualities))
        if s.max_per_minute is not None:
            for at in times:
                assert sum(at - 60 < other <= at for other in times) <= s.max_per_minute


GateMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestGateMachine = GateMachine.TestCase


def test_a_day_of_crowds_does_not_grow_the_gate() -> None:
    """A million faces on tracks that the tracker never ends."""
    gate = make(min_quality=10)
    template = seen(0, 0, 50)
    decided = 0
    for seq in range(20_000):
        at = seq / 10
        ref = FrameRef("cam", seq, at, at, None, 640, 480)
        faces = tuple(
            ScoredFace(
                Face(f"{seq}-{i}", ref, template.face.detection, CROP), seq // 20 * 50 + i, (seq * 7 + i) % 100,
                0.5, template.patches, None,
            )
            for i in range(50)
        )  # fmt: skip
        decided += len(gate.step(ScoredFrame(ref, faces, ())))
        assert len(gate._tracks) <= 1050 + 256 * 3
    assert decided >= 1_000_000 - 2000
