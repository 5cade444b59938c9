"""The stage that decides."""

from __future__ import annotations

from collections.abc import Callable

from facegate.pipeline.flow.channel import Channel, EndOfStream, Lane
from facegate.pipeline.gating.build import CameraDecider, Gates
from facegate.pipeline.gating.gate import Decision
from facegate.pipeline.records import ScoredFrame, Shot, TrackEnd
from facegate.pipeline.reporting.accounting import Ledger


class GateStage:
    """Guards tracks, decides, settles every face in the ledger, and lets shots through."""

    name = "gate"

    def __init__(
        self,
        gates: Gates,
        ledger: Ledger,
        observe: Callable[[Decision], None],
        record: Callable[[ScoredFrame], None],
    ) -> None:
        self._gates = gates
        self._ledger = ledger
        self._observe = observe
        self._record = record
        self._deciders: dict[str, CameraDecider] = {}

    def run(self, inbox: Channel[ScoredFrame], outbox: Lane[Shot | TrackEnd]) -> None:
        """See :class:`~facegate.pipeline.stages.base.Stage`."""
        while True:
            try:
                frame = inbox.take()[0]
            except EndOfStream:
                self._gates.save()
                return
            self._record(frame)
            camera = frame.frame.camera
            decider = self._deciders.get(camera)
            if decider is None or decider.ended:
                # A camera whose configuration was changed comes back under its name; its track ids go on.
                decider = CameraDecider(
                    self._gates, camera, first_id=0 if decider is None else decider.guard.next_id
                )
                self._deciders[camera] = decider
            decisions, ends = decider.step(frame)
            for decision in decisions:
                self._ledger.settle(decision.face.face, decision.outcome)
                self._observe(decision)
                if decision.shot is not None:
                    outbox.put(decision.shot)
            for end in ends:
                outbox.put(end)

    def cameras(self) -> dict[str, CameraDecider]:
        """What decides for each camera that has sent a frame."""
        return dict(self._deciders)
