"""Load shedding: which crops to score when there are more than the machine can score. Pure logic.

Large, frontal, confidently detected faces of tracks that have waited long come first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facegate.pipeline.records import Detection, TrackedFace

FULL_SIZE_PX = 112.0
"""Width in pixels from which a face fills its crop."""
MAX_WAIT_S = 5.0
"""Maximum waiting time that counts, seconds; also that of a track that was never scored."""


class ScoringPriority:
    """Ranks the faces of all cameras; remembers when each track was last scored."""

    def __init__(self) -> None:
        self._scored: dict[tuple[str, int], float] = {}

    def select(self, faces: Sequence[TrackedFace], limit: int) -> set[int]:
        """Return the indices of at most ``limit`` faces to score, the most promising ones.

        The waiting time of a track counts for its best face only, so that one person who is in many frames does not
        starve the others.
        """
        if len(faces) <= limit:
            return set(range(len(faces)))
        worth = np.array([_worth(face.face.detection) for face in faces])
        first_of_track: set[tuple[str, int]] = set()
        value = worth.copy()
        for index in np.argsort(-worth, kind="stable"):
            face = faces[index]
            if _key(face) not in first_of_track:
                first_of_track.add(_key(face))
                value[index] *= 1.0 + self._waited_s(face)
        return {int(index) for index in np.argsort(-value, kind="stable")[:limit]}

    def scored(self, faces: Sequence[TrackedFace]) -> None:
        """Note that these faces were scored."""
        for face in faces:
            self._scored[_key(face)] = face.face.frame.pts_s

    def ended(self, camera: str, tracks: Sequence[int]) -> None:
        """Forget tracks that have ended."""
        for track in tracks:
            self._scored.pop((camera, track), None)

    def _waited_s(self, face: TrackedFace) -> float:
        last = self._scored.get(_key(face))
        if last is None:
            return MAX_WAIT_S
        return min(max(face.face.frame.pts_s - last, 0.0), MAX_WAIT_S)


def frontality(detection: Detection) -> float:
    """Return 1 for a frontal face, towards 0 for a profile: by the nose's distance from the center of the eyes."""
    left, right, nose = (detection.landmarks[i] for i in range(3))
    apart = float(np.linalg.norm(right - left))
    if apart < 1e-6:
        return 0.0
    off = abs(float((nose - (left + right) / 2) @ (right - left))) / apart**2
    return max(0.0, 1.0 - 2.0 * off)


def _worth(detection: Detection) -> float:
    size = min(max(detection.width, 0.0) / FULL_SIZE_PX, 1.0)
    return size * max(detection.confidence, 0.0) * (0.2 + 0.8 * frontality(detection))


def _key(face: TrackedFace) -> tuple[str, int]:
    return face.face.frame.camera, face.track_id
