"""What workers say of shots, on its way from the thread that hears it to the one that decides."""

from __future__ import annotations

from collections import deque
from threading import Lock

from facegate.pipeline.records import FeedbackBatch, RecognitionFeedback
from facegate.sinks.wire import MAX_RECOGNIZER_CHARS, Ack

MAX_WAITING = 10_000
ROUNDING = 1e-3


class FeedbackQueue:
    """Takes receipts, keeps what they say until it is fetched, and counts."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._given: deque[RecognitionFeedback] = deque(maxlen=MAX_WAITING)
        self._expected = False
        self.answered = self.unsure = self.odd = 0

    def expect(self, somebody: bool) -> None:
        """Whether a worker is there that answers."""
        self._expected = somebody

    def put(self, ack: Ack) -> None:
        """Keep what a receipt says, if it says anything that can be."""
        said = ack.feedback
        if said is None:
            return
        most = 1 + ROUNDING
        possible = (
            -most <= said.runner_up_similarity <= said.similarity <= most
            and len(said.recognizer) <= MAX_RECOGNIZER_CHARS
        )
        with self._lock:
            if not possible:  # a comparison with NaN is false, too
                self.odd += 1
                return
            self.answered += 1
            self.unsure += not said.conclusive
            self._given.append(
                RecognitionFeedback(
                    ack.shot_id,
                    said.named,
                    said.conclusive,
                    said.similarity,
                    said.runner_up_similarity,
                    said.recognizer,
                )
            )

    def fetch(self) -> FeedbackBatch:
        """What has come since the last call."""
        with self._lock:
            given = tuple(self._given)
            self._given.clear()
        return FeedbackBatch(self._expected, given)
