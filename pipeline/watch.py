"""The pipeline as an iterator: ``with facegate.watch(source) as shots: for shot in shots: ...``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from facegate.pipeline.config import RunConfig, config_for
from facegate.pipeline.flow.channel import Aborted, Channel, EndOfStream
from facegate.pipeline.records import FeedbackBatch, LiveTracks, Shot, TrackEnd
from facegate.pipeline.runner import Runner
from facegate.sinks.base import CameraStatus, DeliveryReport

QUEUE_CAPACITY = 64


class ShotQueue:
    """A sink that queues shots for a consumer in this process; when it is full, the pipeline waits."""

    def __init__(self) -> None:
        self.channel: Channel[Shot] = Channel()
        self._lane = self.channel.lane(QUEUE_CAPACITY)
        self._accepted = 0

    def send(self, *shots: Shot) -> None:
        """See :class:`facegate.sinks.base.Sink`."""
        for shot in shots:
            self._lane.put(shot)
            self._accepted += 1

    def ended(self, *tracks: TrackEnd) -> None:
        """See :class:`facegate.sinks.base.Sink`; not used here."""

    def live(self, tracks: LiveTracks) -> None:
        """See :class:`facegate.sinks.base.Sink`; not used here."""

    def cameras(self, cameras: Mapping[str, CameraStatus], *, complete: bool) -> None:
        """See :class:`facegate.sinks.base.Sink`; not used here."""

    def feedback(self) -> FeedbackBatch:
        """See :class:`facegate.sinks.base.Sink`; there is no feedback."""
        return FeedbackBatch(expected=False)

    def report(self) -> DeliveryReport:
        """See :class:`facegate.sinks.base.Sink`; shots count as delivered when queued."""
        return DeliveryReport(accepted=self._accepted, acknowledged=self._accepted)

    def __iter__(self) -> Iterator[Shot]:
        """Yield shots until the run ends or is aborted."""
        while True:
            try:
                yield self.channel.take()[0]
            except (EndOfStream, Aborted):
                return

    def end(self) -> None:
        """End the consumer's iteration after the queued shots."""
        self._lane.close()

    def close(self, linger_s: float) -> DeliveryReport:
        """See :class:`facegate.sinks.base.Sink`."""
        del linger_s
        return self.report()

    def abort(self) -> None:
        """See :class:`facegate.sinks.base.Sink`."""
        self.channel.abort()


@contextmanager
def watch(source: str | Path | RunConfig) -> Iterator[Iterator[Shot]]:
    """Run the pipeline on ``source`` and iterate over its best shots.

    Args:
        source: a video file, ``rtsp://`` URL or webcam (``"0"``), a YAML configuration's path, or a
            :class:`~facegate.pipeline.config.RunConfig`.

    Yields:
        an iterator of :class:`~facegate.pipeline.records.Shot` (``crop``, ``quality``, ``box``, ``landmarks``,
        ``track_id``, ``pts_s``). It ends with the source; leaving the block stops every thread.

    Raises:
        FacegateError: problems of the configuration, a source, a model or a stage; from the block or the iteration.
    """
    queue = ShotQueue()
    with Runner(config_for(source), lambda: queue, on_finished=queue.end) as runner:
        yield _shots(runner, queue)


def _shots(runner: Runner, queue: ShotQueue) -> Iterator[Shot]:
    yield from queue
    runner.close(linger_s=0.0)
