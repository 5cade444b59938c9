"""The stage that decides."""

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
    """Guards tracks, decides, settles every face in the ledger, and lets shots through."""

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
            gates: makes what decides for each camera.
            ledger: of fates.
            answers: what recognizers and other gates have said since it was last called.
            observe: is told each decision.
            record: is told what is decided by, in the order in which it comes.
        """
        self._gates = gates
        self._ledger = ledger
        self._answers = answers
        self._observe = observe
        self._record = record
        self._deciders = CameraGates(gates)
        self._answering = False
        self._sure: dict[str, frozenset[int]] = {}
        self._present: dict[str, dict[int, int]] = {}
        self._frame_s: dict[str, float] = {}
        self._live_s = 0.0
        self._blocked_s = 0.0

    def conclusive_tracks(self, camera: str) -> frozenset[int] | None:
        """Tracks of a camera of which nothing more is sent; ``None`` where nobody answers. For any thread."""
        return self._sure.get(camera, frozenset()) if self._answering else None

    def current_people(self, camera: str) -> dict[int, int]:
        """For each of the tracker's tracks, the one under which it is decided. For any thread."""
        return self._present.get(camera, {})

    def run(self, inbox: Channel[ScoredFrame], outbox: Lane[Shot | TrackEnd | LiveTracks]) -> None:
        """See :class:`~facegate.pipeline.stages.base.Stage`."""
        while True:
            try:
                # A camera whose last face has left may send nothing for seconds; an answer is not to wait for it.
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
                if self._answering:
                    self._sure[camera] = decider.is_conclusive()
            self._tell_live(outbox)

    def _clock(self) -> float:
        """Seconds, standing still while delivery blocks this stage: no camera is silent because of that."""
        return monotonic() - self._blocked_s

    def _tell_live(self, outbox: Lane[Shot | TrackEnd | LiveTracks]) -> None:
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
        """Take what recognizers have said; return whether it was anything."""
        answers = self._answers()
        if answers.items or answers.sightings or answers.expected != self._answering:
            self._answering = answers.expected
            self._record(answers)
            self._settle(self._deciders.on_feedback(answers), outbox)
        return bool(answers.items)

    def _await_feedback(self, inbox: Channel[ScoredFrame], outbox: Lane[Shot | TrackEnd | LiveTracks]) -> None:
        """No more frames come: wait for the answers that may earn a track another shot."""
        deadline = monotonic() + FEEDBACK_TIMEOUT_S
        while self._deciders.awaits_feedback and self._answering and monotonic() < deadline:
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
        """What decides for each camera that has sent a frame."""
        return dict(self._deciders.cameras)
