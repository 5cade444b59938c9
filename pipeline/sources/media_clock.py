"""Media time from the stamps of cameras and files, which are hearsay: it rises, whatever they say. Pure logic.

Cameras step their clocks (SNTP), stamp 25 frames a second while they deliver 20.8 (night shutter), stamp nothing,
or stamp one frame hours away. So a stamp is believed for one step at a time: where it moved on, and not ahead of
our own clock. Elsewhere our clock takes the step, and media time passes as fast as time does here. A rate that is
too slow is corrected slowly, so that jitter and a burst after a stall leave no trace.
"""

from __future__ import annotations

MIN_STEP_S = 1e-3
MAX_DRIFT_S = 0.35
"""Media time may be this far from our clock before that counts: jitter, and what waits in buffers."""
SETTLING_S = 0.3
"""At first, frames that were buffered while the stream was opened come at once; the latest of them is on time."""
PAUSE_S = 10.0
"""A stamp further ahead than this is a pause of the recording, unless the one after it says that it was a stray."""


class MediaClock:
    """One connection's media time; starts at 0."""

    def __init__(self) -> None:
        self._stamp_s: float | None = None
        self._arrived_s: float | None = None
        self._first_s = 0.0
        self._anchor_s = 0.0
        self._media_s = 0.0
        self.believed = False
        """Whether the last step was the stamp's."""

    def step(self, stamp_s: float | None, arrived_s: float, period_s: float) -> float:
        """Return the media time of the next frame.

        Args:
            stamp_s: the camera's; ``None`` where it gave none.
            arrived_s: when the frame arrived here (monotonic).
            period_s: mean time between two frames, as they arrive.
        """
        if self._arrived_s is None:
            self._first_s = self._anchor_s = arrived_s
            self.believed = stamp_s is not None
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
        self.believed = 0 < moved_s <= behind_s + MAX_DRIFT_S
        step_s = moved_s if self.believed else passed_s
        if behind_s - step_s > MAX_DRIFT_S:
            # No faster than twice, and a stall counts as two frames: the burst after it brings the rest.
            step_s += min(behind_s - step_s - MAX_DRIFT_S, passed_s, 2 * period_s)
        self._media_s += max(step_s, MIN_STEP_S)


class FileMediaClock:
    """A file's media time: its stamps while they rise; where they do not, another part of a recording begins.

    Parts follow each other without a gap: nothing tells how long it was. A pause that the stamps tell is kept.
    """

    def __init__(self) -> None:
        self._media_s: float | None = None
        self._ahead_s = 0.0
        """Of media time before the stamps of the part that is playing."""

    def step(self, stamp_s: float | None, next_s: float | None, period_s: float) -> float:
        """Return the media time of the next frame.

        Args:
            stamp_s: the file's; ``None`` where it gives none.
            next_s: that of the frame after it.
            period_s: of the frame rate.
        """
        before_s = self._media_s
        if before_s is None:
            self._media_s = stamp_s or 0.0
            return self._media_s
        self._media_s = before_s + period_s
        if stamp_s is not None:
            told_s = stamp_s + self._ahead_s
            after_s = None if next_s is None else next_s + self._ahead_s
            if told_s > before_s and (told_s <= before_s + PAUSE_S if after_s is None else told_s <= after_s):
                self._media_s = told_s
            elif after_s is not None and before_s < after_s <= before_s + PAUSE_S:
                # The next one goes on from the one before: this one is a stray, or there twice.
                self._media_s = min(self._media_s, (before_s + after_s) / 2)
            elif after_s is not None and told_s > before_s:
                self._media_s = told_s
            elif told_s <= before_s:
                self._ahead_s = self._media_s - stamp_s
        return self._media_s
