"""A continuous recording: a folder of segments, each a complete recording, so that the oldest can be deleted.

Nine of ten faces are not scored; their crops would be nine tenths of the size and are not recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic

import structlog

from facegate.errors import ConfigError, os_errors
from facegate.pipeline.config import RunConfig
from facegate.pipeline.gating.recall_threshold import RecallState
from facegate.pipeline.recording.record import SUFFIX, Recorder, RecordingPosition, RunInfo
from facegate.pipeline.records import FeedbackBatch, ScoredFrame

SEGMENT_BYTES = 32 * 2**20
SEGMENT_S = 900.0
RETRY_S = 10.0
"""Seconds between two attempts to start a new segment after a write error."""

log = structlog.get_logger(__name__)


class SegmentedRecorder:
    """Writes ``RUN/000001.rec`` and so on; see :class:`~facegate.pipeline.recording.record.RecordingWriter`."""

    def __init__(
        self, folder: Path, config: RunConfig, begin: RunInfo, learned: Callable[[], dict[str, RecallState]]
    ) -> None:
        """Start the first segment.

        Args:
            folder: folder in which this run gets its own folder.
            config: configuration whose gates are recorded.
            begin: data common to all segments.
            learned: returns the current states of cameras with ``target_recall``.

        Raises:
            ConfigError: it cannot be written.
        """
        self._folder = folder / begin.run_id
        with os_errors(ConfigError, f"cannot write {self._folder}"):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._config, self._begin, self._learned = config, begin, learned
        self._number = 0
        self._ends_s = 0.0
        self._lost = False
        self._piece = self._next()

    @property
    def position(self) -> RecordingPosition:
        """See :class:`~facegate.pipeline.recording.record.RecordingWriter`."""
        return self._piece.position

    def write(self, item: ScoredFrame | FeedbackBatch) -> None:
        """See :class:`~facegate.pipeline.recording.record.RecordingWriter`; does nothing while the disk is full."""
        self._try(lambda piece: piece.write(item))

    def change_gates(self, config: RunConfig, learned: dict[str, RecallState]) -> None:
        """See :class:`~facegate.pipeline.recording.record.RecordingWriter`."""
        self._config = config
        self._try(lambda piece: piece.change_gates(config, learned))

    def close(self) -> None:
        """See :class:`~facegate.pipeline.recording.record.RecordingWriter`."""
        self._piece.close()

    def _try(self, write: Callable[[Recorder], None]) -> None:
        now = monotonic()
        if self._lost and now < self._ends_s:
            return
        try:
            if self._lost or self._piece.size >= SEGMENT_BYTES or now >= self._ends_s:
                self._piece.close()
                self._piece = self._next()
            write(self._piece)
            self._lost = False
        except ConfigError as error:
            # Cameras and delivery go on. The segment may end in a truncated object, so a new one is started later.
            if not self._lost:
                log.error("recording interrupted, will retry", folder=str(self._folder), reason=str(error).lower())
            self._lost, self._ends_s = True, now + RETRY_S

    def _next(self) -> Recorder:
        self._number += 1
        self._ends_s = monotonic() + SEGMENT_S
        path = self._folder / f"{self._number:06d}{SUFFIX}"
        return Recorder(path, self._config, self._begin, self._learned(), every_crop=False)
