"""Media time from the unreliable timestamps of cameras and files; it always increases. Pure logic.

Cameras step their clocks (SNTP), stamp 25 frames per second while they deliver 20.8 (night shutter), send no
timestamps, or stamp one frame hours away. So a timestamp is used for one step at a time: if it increases, and not
ahead of the local clock. Otherwise the local clock gives the step. A rate that is too slow is corrected slowly, so
that jitter and a burst after a stall have no effect.
"""

from __future__ import annotations

MIN_STEP_S = 1e-3
MAX_DRIFT_S = 0.35
"""Tolerated difference between media time and the local clock, seconds: jitter and buffered frames."""
SETTLING_S = 0.3
"""Seconds at the start in which frames buffered during opening arrive in a burst; the latest is on time."""
PAUSE_S = 10.0
"""A timestamp further ahead than this is a pause of the recording, unless the next one shows it was an outlier."""


class MediaClock:
    """One connection's media time; starts at 0."""

    def __init__(self) -> None:
        self._stamp_s: float | None = None
        self._arrived_s: float | None = None
        self._first_s = 0.0
        self._anchor_s = 0.0
        self._media_s = 0.0
        self.trusted = False
        """Whether the last step came from the timestamp."""

    def step(self, stamp_s: float | None, arrived_s: float, period_s: float) -> float:
        """Return the media time of the next frame.

        Args:
            stamp_s: the camera's timestamp; ``None`` without one.
            arrived_s: arrival time of the frame (monotonic).
            period_s: mean seconds between two frames, by arrival.
        """
        if self._arrived_s is None:
            self._first_s = self._anchor_s = arrived_s
            self.trusted = stamp_s is not None
        else:
            self._move(stamp_s, max(0.0, arrived_s - self._arrived_s), arrived_s, period_s)
        self._stamp_s, self._arrived_s = stamp_s, arrived_s
        return self._media_s

    def _move(self, stamp_s: float | None, passed_s: float, arrived_s: float, period_s: float) -> None:
        moved_s = 0.0
        if stamp_s is not None:
            # FFmpeg does not stamp the first frame before it has seen the second.
            moved_s = period_s if self._stamp_s is None else stamp_s - self._stamp_s
        settling = arrived_s - self._first_s < SETTLING_S
        if settling and 4 * passed_s < moved_s < SETTLING_S:
            self._anchor_s = min(self._anchor_s, arrived_s - self._media_s - moved_s)
        behind_s = arrived_s - self._anchor_s - self._media_s
        self.trusted = 0 < moved_s <= behind_s + MAX_DRIFT_S
        step_s = moved_s if self.trusted else passed_s
        if behind_s - step_s > MAX_DRIFT_S:
            # At most twice the rate, and a stall counts as two frames: the burst after it brings the rest.
            step_s += min(behind_s - step_s - MAX_DRIFT_S, passed_s, 2 * period_s)
        self._media_s += max(step_s, MIN_STEP_S)


class FileMediaClock:
    """A file's media time: its timestamps while they increase; where they do not, a new part of the file begins.

    Parts follow each other without a gap, since its length is unknown. Pauses in the timestamps are kept.
    """

    def __init__(self) -> None:
        self._media_s: float | None = None
        self._ahead_s = 0.0
        """Offset of media time to the timestamps of the current part, seconds."""

    def step(self, stamp_s: float | None, next_s: float | None, period_s: float) -> float:
        """Return the media time of the next frame.

        Args:
            stamp_s: the file's timestamp; ``None`` without one.
            next_s: timestamp of the next frame.
            period_s: seconds per frame by the frame rate.
        """
        before_s = self._media_s
        if before_s is None:
            self._media_s = stamp_s or 0.0
            return self._media_s
        self._media_s = before_s + period_s
        if stamp_s is not None:
            candidate_s = stamp_s + self._ahead_s
            after_s = None if next_s is None else next_s + self._ahead_s
            if candidate_s > before_s and (
                candidate_s <= before_s + PAUSE_S if after_s is None else candidate_s <= after_s
            ):
                self._media_s = candidate_s
            elif after_s is not None and before_s < after_s <= before_s + PAUSE_S:
                # The next one continues the previous one: this one is an outlier or a duplicate.
                self._media_s = min(self._media_s, (before_s + after_s) / 2)
            elif after_s is not None and candidate_s > before_s:
                self._media_s = candidate_s
            elif candidate_s <= before_s:
                self._ahead_s = self._media_s - stamp_s
        return self._media_s
