"""Recognition feedback on its way from the delivery thread to the gate."""

from __future__ import annotations

from collections import deque
from threading import Lock

from facegate.pipeline.records import FeedbackBatch, RecognitionFeedback
from facegate.sinks.wire import MAX_RECOGNIZER_CHARS, Ack

MAX_WAITING = 10_000
ROUNDING = 1e-3
"""Tolerance for similarities beyond -1..1."""


class FeedbackQueue:
    """Queues the feedback of acknowledgements until it is fetched, and counts it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._items: deque[RecognitionFeedback] = deque(maxlen=MAX_WAITING)
        self._expected = False
        self.answered = self.inconclusive = self.invalid = 0

    def expect(self, expected: bool) -> None:
        """Set whether a connected worker sends feedback."""
        self._expected = expected

    def put(self, ack: Ack) -> None:
        """Queue the feedback of an acknowledgement; impossible values are counted and dropped."""
        feedback = ack.feedback
        if feedback is None:
            return
        limit = 1 + ROUNDING
        possible = (
            -limit <= feedback.runner_up_similarity <= feedback.similarity <= limit
            and len(feedback.recognizer) <= MAX_RECOGNIZER_CHARS
        )
        with self._lock:
            if not possible:  # a comparison with NaN is false, too
                self.invalid += 1
                return
            self.answered += 1
            self.inconclusive += not feedback.conclusive
            self._items.append(
                RecognitionFeedback(
                    ack.shot_id,
                    feedback.named,
                    feedback.conclusive,
                    feedback.similarity,
                    feedback.runner_up_similarity,
                    feedback.recognizer,
                )
            )

    def fetch(self) -> FeedbackBatch:
        """Return and forget what has come since the last call."""
        with self._lock:
            items = tuple(self._items)
            self._items.clear()
        return FeedbackBatch(self._expected, items)
