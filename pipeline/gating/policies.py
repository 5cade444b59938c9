"""Small policies that a gate combines: diverse shots, primary face, recent people, budget, shadow samples."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from facegate.detectors.pose import pose
from facegate.pipeline.records import Face, ScoredFace, SkippedFace
from facegate.pipeline.tracking.identity import unit_embedding

MAX_RECENT_PEOPLE = 2000
"""People remembered at once; the oldest are forgotten first."""


class Hysteresis:
    """Opens at the threshold and closes only below ``threshold - band``."""

    def __init__(self, band: int) -> None:
        self._band = band

    def admits(self, was_open: bool, quality: int, threshold: int) -> bool:
        """Whether a face passes, which is also the track's new state."""
        return quality >= (threshold - self._band if was_open else threshold)


class BestShots:
    """The best ``k`` faces of a track so far, distinct in time or yaw."""

    def __init__(self, k: int, min_gap_s: float, min_yaw_gap_deg: float) -> None:
        self._k, self._min_gap_s, self._min_yaw_gap_deg = k, min_gap_s, min_yaw_gap_deg
        self.kept: list[ScoredFace] = []
        """Best first."""

    def add(self, face: ScoredFace) -> list[ScoredFace]:
        """Take a face; return the faces it displaces, perhaps itself."""
        if self._k == 1:
            if self.kept and face.rank <= self.kept[0].rank:
                return [face]
            lost, self.kept = self.kept, [face]
            return lost
        close = [other for other in self.kept if not self._distinct(face, other)]
        if any(other.rank >= face.rank for other in close):
            return [face]
        self.kept = [other for other in self.kept if other not in close] + [face]
        self.kept.sort(key=lambda item: item.rank, reverse=True)
        lost = close + self.kept[self._k :]
        self.kept = self.kept[: self._k]
        return lost

    def _distinct(self, a: ScoredFace, b: ScoredFace) -> bool:
        if abs(a.face.frame.pts_s - b.face.frame.pts_s) >= self._min_gap_s:
            return True
        return abs(pose(a.face.detection)[0] - pose(b.face.detection)[0]) >= self._min_yaw_gap_deg


class PrimaryFace:
    """Selects the largest face that is near; it stays selected until another is clearly larger."""

    SWITCH_RATIO = 1.2

    def __init__(self, min_px: float) -> None:
        self._min_px = min_px
        self._track: int | None = None

    def track_of(self, faces: tuple[ScoredFace | SkippedFace, ...]) -> int | None:
        """Return the track of the frame's primary face, ``None`` if no face is near."""
        widths = {face.track_id: face.face.detection.width for face in faces}
        near = {track: width for track, width in widths.items() if width >= self._min_px}
        if not near:
            self._track = None
            return None
        largest = max(near, key=lambda track: near[track])
        if self._track not in near or near[largest] > self.SWITCH_RATIO * near[self._track]:
            self._track = largest
        return self._track


class RecentPeople:
    """People forwarded within the last ``window_s``, by embedding; of one camera or of a group."""

    def __init__(
        self,
        window_s: float,
        same_above: float,
        on_sighting: Callable[[NDArray[np.float32], float], None] = lambda unit, now: None,
    ) -> None:
        """Configure; ``on_sighting`` is called for every person added: unit embedding ``(D,)`` and time."""
        self._window_s, self._same_above, self._on_sighting = window_s, same_above, on_sighting
        self._people: deque[tuple[float, NDArray[np.float32]]] = deque(maxlen=MAX_RECENT_PEOPLE)

    def contains(self, face: ScoredFace, now: float) -> bool:
        """Whether this person was forwarded recently."""
        while self._people and now - self._people[0][0] > self._window_s:
            self._people.popleft()
        unit = unit_embedding(face)
        if unit is None or not self._people:
            return False
        known = np.stack([person for _, person in self._people])
        return bool((known @ unit).max() >= self._same_above)

    def add(self, face: ScoredFace, now: float) -> None:
        """Add a person who is being forwarded."""
        unit = unit_embedding(face)
        if unit is not None:
            self.add_embedding(unit, now)
            self._on_sighting(unit, now)

    def add_embedding(self, unit: NDArray[np.float32], now: float) -> None:
        """Add a person who was forwarded by another node: unit embedding ``(D,)``."""
        self._people.append((now, unit))


class Budget:
    """Maximum number of shots within any minute."""

    def __init__(self, max_per_minute: int) -> None:
        self._per_minute = max_per_minute
        self._times: deque[float] = deque()

    def has_left(self, now: float) -> bool:
        """Whether one more may be sent."""
        while self._times and now - self._times[0] >= 60.0:
            self._times.popleft()
        return len(self._times) < self._per_minute

    def spend(self, now: float) -> None:
        """Count one shot."""
        self._times.append(now)


class ShadowSample:
    """Selects a share of rejected faces by a hash of their ids, so that a replay selects the same."""

    def __init__(self, share: float, run_id: str) -> None:
        self._share, self._run_id = share, run_id

    def selects(self, face: Face) -> bool:
        """Whether to forward this reject as a shadow sample."""
        if not self._share:
            return False
        text = f"{self._run_id}/{face.frame.camera}/{face.face_id}"
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64 < self._share
