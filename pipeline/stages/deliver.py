"""The stage that hands shots to the sink."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from facegate.pipeline.flow.channel import Channel, EndOfStream, Lane
from facegate.pipeline.records import LiveTracks, Shot, TrackEnd
from facegate.sinks.base import Sink

SHOTS_TOGETHER = 64
"""Maximum number of shots handed over at once, to share one commit to disk."""

log = structlog.get_logger(__name__)


class DeliverStage:
    """Hands shots to the sink."""

    name = "deliver"

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def run(self, inbox: Channel[Shot | TrackEnd | LiveTracks], outbox: Lane[None]) -> None:
        """See :class:`~facegate.pipeline.stages.base.Stage`; nothing is put to ``outbox``."""
        del outbox
        while True:
            try:
                taken = inbox.take(SHOTS_TOGETHER)
            except EndOfStream:
                return
            # A report of live tracks covers the shots before it, not those after it.
            start = 0
            for index, item in enumerate(taken):
                if isinstance(item, LiveTracks):
                    self._deliver(taken[start:index])
                    self._sink.live(item)
                    start = index + 1
            self._deliver(taken[start:])

    def _deliver(self, items: Sequence[Shot | TrackEnd | LiveTracks]) -> None:
        shots = [item for item in items if isinstance(item, Shot)]
        if shots:
            self._sink.send(*shots)
        # Logged when done: with a spool, the shot is now on disk.
        for shot in shots:
            log.info(
                "shot",
                camera=shot.camera,
                track=shot.track_id,
                rank=shot.rank,
                quality=shot.quality,
                shot_id=shot.shot_id,
            )
        ends = [item for item in items if isinstance(item, TrackEnd)]
        if ends:
            self._sink.ended(*ends)
