"""A recording without end: a folder of pieces, each a recording by itself, so that the oldest can go.

Nine faces of ten are not scored, and their pictures would be nine tenths of it: they are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic

import structlog

from facegate.errors import ConfigError
from facegate.pipeline.config import RunConfig
from facegate.pipeline.gating.recall_threshold import RecallState
from facegate.pipeline.recording.record import SUFFIX, Recorder, RecordingPosition, RunInfo
from facegate.pipeline.records import FeedbackBatch, ScoredFrame

SEGMENT_BYTES = 32 * 2**20
SEGMENT_S = 900.0
RETRY_S = 10.0
"""After a disk was full, a new piece is tried so often."""

log = structlog.get_logger(__name__)


class SegmentedRecorder:
    """Writes ``RUN/000001.rec`` and so on; see :class:`~facegate.pipeline.recording.record.RecordingWriter`."""

    def __init__(
        self, folder: Path, config: RunConfig, begin: RunInfo, learned: Callable[[], dict[str, RecallState]]
    ) -> None:
        """Begin the first piece.

        Args:
            folder: in which this run gets a folder of its own.
            config: whose gates are recorded.
            begin: what is the same in every piece.
            learned: tells what cameras with ``keep`` know now.

        Raises:
            ConfigError: it cannot be written.
        """
        self._folder = folder / begin.run_id
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot write {self._folder}: {(error.strerror or 'error').lower()}") from error
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
        """See :class:`~facegate.pipeline.recording.record.RecordingWriter`; what a full disk does not take is left
        out."""
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
        except (OSError, ConfigError) as error:
            # Cameras and delivery go on. The piece may end in half an object: what comes later goes into another.
            if not self._lost:
                log.error("not recorded", folder=str(self._folder), reason=str(error).lower())
            self._lost, self._ends_s = True, now + RETRY_S

    def _next(self) -> Recorder:
        self._number += 1
        self._ends_s = monotonic() + SEGMENT_S
        path = self._folder / f"{self._number:06d}{SUFFIX}"
        return Recorder(path, self._config, self._begin, self._learned(), every_crop=False)
