"""The stage that decides which faces are forwarded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic, sleep

from facegate.pipeline.flow.channel import Aborted, Channel, EndOfStream, Lane
from facegate.pipeline.gating.factory import CameraGate, CameraGates, GateFactory, StepResult
from facegate.pipeline.gating.gate import FEEDBACK_TIMEOUT_S, Decision
from facegate.pipeline.observability.ledger import Ledger
from facegate.pipeline.records import FeedbackBatch, LiveTracks, ScoredFrame, Shot, TrackEnd

POLL_S = 0.02
LIVE_S = 1.0
"""Seconds between two reports of the live tracks."""
SILENT_S = 15.0
"""Seconds without a frame after which the tracks of a camera no longer count as live."""


class GateStage:
    """Splits identity switches, decides, settles every face in the ledger, and forwards shots."""

    name = "gate"

    def __init__(
        self,
        gates: GateFactory,
        ledger: Ledger,
        answers: Callable[[], FeedbackBatch],
        observe: Callable[[Decision], None],
        record: Callable[[ScoredFrame | FeedbackBatch], None],
    ) -> None:
        """Configure.

        Args:
            gates: makes the gates of cameras.
            ledger: settles outcomes.
            answers: returns recognition feedback and sightings since the last call.
            observe: called with each decision.
            record: called with each input of the gates, in order.
        """
        self._gates = gates
        self._ledger = ledger
        self._answers = answers
        self._observe = observe
        self._record = record
        self._deciders = CameraGates(gates)
        self._feedback_expected = False
        self._conclusive: dict[str, frozenset[int]] = {}
        self._present: dict[str, dict[int, int]] = {}
        self._frame_s: dict[str, float] = {}
        self._live_s = 0.0
        self._blocked_s = 0.0

    def conclusive_tracks(self, camera: str) -> frozenset[int] | None:
        """Return a camera's tracks with conclusive recognition; ``None`` without feedback. Thread-safe."""
        return self._conclusive.get(camera, frozenset()) if self._feedback_expected else None

    def current_people(self, camera: str) -> dict[int, int]:
        """Return, for each of the tracker's tracks, the id under which it is decided. Thread-safe."""
        return self._present.get(camera, {})

    def run(self, inbox: Channel[ScoredFrame], outbox: Lane[Shot | TrackEnd | LiveTracks]) -> None:
        """See :class:`~facegate.pipeline.stages.base.Stage`."""
        while True:
            try:
                # A camera without faces may send nothing for seconds; feedback must not wait for it.
                frames = inbox.take(timeout_s=POLL_S if self._deciders.awaits_feedback else LIVE_S)
            except EndOfStream:
                self._await_feedback(inbox, outbox)
                self._gates.save()
                return
            self._take_feedback(outbox)
            for frame in frames:
                self._record(frame)
                self._settle(self._deciders.step(frame), outbox)
                camera = frame.frame.camera
                decider = self._deciders.cameras[camera]
                self._present[camera] = decider.guard.current_people()
                self._frame_s[camera] = self._clock()
                if self._feedback_expected:
                    self._conclusive[camera] = decider.is_conclusive()
            self._report_live(outbox)

    def _clock(self) -> float:
        """Monotonic seconds without the time in which delivery blocked this stage, so that no camera seems
        silent."""
        return monotonic() - self._blocked_s

    def _report_live(self, outbox: Lane[Shot | TrackEnd | LiveTracks]) -> None:
        """Report the live tracks once a second, in order with shots and ends; never waits."""
        now = self._clock()
        if now < self._live_s or outbox.full:
            return
        self._live_s = now + LIVE_S
        cameras = {
            name: decider.live() if now - self._frame_s.get(name, now) < SILENT_S else ()
            for name, decider in self._deciders.cameras.items()
        }
        outbox.put(LiveTracks(self._gates.run_id, cameras))

    def _take_feedback(self, outbox: Lane[Shot | TrackEnd | LiveTracks]) -> bool:
        """Take recognition feedback; return whether there was any."""
        answers = self._answers()
        if answers.items or answers.sightings or answers.expected != self._feedback_expected:
            self._feedback_expected = answers.expected
            self._record(answers)
            self._settle(self._deciders.on_feedback(answers), outbox)
        return bool(answers.items)

    def _await_feedback(self, inbox: Channel[ScoredFrame], outbox: Lane[Shot | TrackEnd | LiveTracks]) -> None:
        """After the last frame: wait for feedback that may cause follow-ups."""
        deadline = monotonic() + FEEDBACK_TIMEOUT_S
        while self._deciders.awaits_feedback and self._feedback_expected and monotonic() < deadline:
            if inbox.aborted:
                raise Aborted
            if self._take_feedback(outbox):
                deadline = monotonic() + FEEDBACK_TIMEOUT_S
            else:
                sleep(POLL_S)
        self._settle(self._deciders.settle_pending(), outbox)

    def _settle(self, steps: Iterable[StepResult], outbox: Lane[Shot | TrackEnd | LiveTracks]) -> None:
        for decided in steps:
            for decision in decided.decisions:
                self._ledger.settle(decision.face.face, decision.outcome)
                self._observe(decision)
                if decision.shot is not None:
                    self._put(decision.shot, outbox)
            for end in decided.ended_tracks:
                self._put(end, outbox)
                self._gates.save_learned(end.camera)

    def _put(self, item: Shot | TrackEnd, outbox: Lane[Shot | TrackEnd | LiveTracks]) -> None:
        started = monotonic()
        outbox.put(item)
        self._blocked_s += monotonic() - started

    def cameras(self) -> dict[str, CameraGate]:
        """Return the gates of the cameras that have sent a frame."""
        return dict(self._deciders.cameras)
