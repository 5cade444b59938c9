"""The stage that hands shots to the sink."""

from __future__ import annotations

import structlog

from facegate.pipeline.flow.channel import Channel, EndOfStream, Lane
from facegate.pipeline.records import LiveTracks, Shot, TrackEnd
from facegate.sinks.base import Sink

SHOTS_TOGETHER = 64
"""One commit for so many, when they come faster than the disk takes them."""

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
            shots = [item for item in taken if isinstance(item, Shot)]
            if shots:
                self._sink.send(*shots)
            # Told when it is done: where there is a spool, such a shot is not lost any more.
            for shot in shots:
                log.info(
                    "shot",
                    camera=shot.camera,
                    track=shot.track_id,
                    rank=shot.rank,
                    quality=shot.quality,
                    shot_id=shot.shot_id,
                )
            for item in taken:
                if isinstance(item, TrackEnd):
                    self._sink.ended(item)
                elif isinstance(item, LiveTracks):
                    self._sink.live(item)
