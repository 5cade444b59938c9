"""The stage that assigns faces to tracks."""

from __future__ import annotations

from collections.abc import Callable

from facegate.pipeline.flow.channel import Channel, EndOfStream, Lane
from facegate.pipeline.observability.ledger import Ledger
from facegate.pipeline.records import CameraEnded, FrameFaces, Outcome, TrackedFace, TrackedFrame
from facegate.pipeline.tracking.bytetrack import FaceTracker


class TrackStage:
    """Assigns faces to tracks, with one tracker per camera."""

    name = "track"

    def __init__(self, make_tracker: Callable[[], FaceTracker], ledger: Ledger) -> None:
        self._make_tracker = make_tracker
        self._ledger = ledger
        self._trackers: dict[str, FaceTracker] = {}
        self.tracks = 0
        """Tracks that have ended, over all cameras."""

    def run(self, inbox: Channel[FrameFaces | CameraEnded], outbox: Lane[TrackedFrame]) -> None:
        """See :class:`~facegate.pipeline.stages.base.Stage`."""
        while True:
            try:
                item = inbox.take()[0]
            except EndOfStream:
                return
            if isinstance(item, CameraEnded):
                tracker = self._trackers.pop(item.frame.camera, None)
                ended = tracker.finish() if tracker else ()
                self.tracks += len(ended)
                outbox.put(TrackedFrame(frame=item.frame, faces=(), ended=ended, last=True))
            else:
                outbox.put(self._track(item))

    def _track(self, item: FrameFaces) -> TrackedFrame:
        camera = item.frame.camera
        if camera not in self._trackers:
            self._trackers[camera] = self._make_tracker()
        ids, ended = self._trackers[camera].step(item.faces, item.frame.pts_s, cut=item.cut, still=item.still)
        self.tracks += len(ended)
        tracked = []
        for face, track_id in zip(item.faces, ids, strict=True):
            if track_id is None:
                self._ledger.settle(face, Outcome.UNTRACKED)
            else:
                tracked.append(TrackedFace(face=face, track_id=track_id))
        return TrackedFrame(frame=item.frame, faces=tuple(tracked), ended=ended)
