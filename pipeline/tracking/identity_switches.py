"""The identity guard: splits a track that switches to another person, so that each track shows one person.

A tracker associates boxes, and a box can pass from one person to the next without a gap; the embedding, which
comes with the score at no extra cost, shows it. Each face is assigned to the most similar person of its track, or
to a new one when it resembles none; unreliable embeddings (of low quality) never make a new person. Ids are unique
per camera and run. A person who returns within ``merge_s`` can keep the old id.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.pipeline.records import ScoredFace, ScoredFrame
from facegate.pipeline.tracking.identity import IdentityThresholds, unit_embedding

MEAN_DECAY = 0.9
"""Weight of the past in a person's mean embedding."""
MAX_PEOPLE_PER_TRACK = 4
"""Maximum number of people per track of the tracker; a further one is assigned to the most similar."""


class _Person(msgspec.Struct):
    track_id: int
    mean: NDArray[np.float32] | None = None
    left_s: float | None = None


class IdentitySwitchGuard:
    """Renumbers the tracks of one camera; one person per id."""

    def __init__(
        self, people: IdentityThresholds | None, *, reliable: int, merge_s: float = 0.0, first_id: int = 0
    ) -> None:
        """Configure.

        Args:
            people: cosine thresholds; ``None`` for a model whose embedding does not distinguish people: tracks are
                only renumbered.
            reliable: minimum quality of a reliable embedding.
            merge_s: a person who returns within this many seconds keeps the id.
            first_id: id of the first track.
        """
        self._people = people
        self._reliable = reliable
        self._merge_s = merge_s
        self._tracks: dict[int, list[_Person]] = {}
        self._gone: list[_Person] = []
        self._last_s: float | None = None
        self.next_id = first_id
        self.identity_switches = 0
        """Number of splits so far."""

    def step(self, frame: ScoredFrame) -> ScoredFrame:
        """Return the frame with the guard's ids and ends."""
        now = frame.frame.pts_s
        # The end of a track is seen with the next frame, which may come minutes later.
        silent = self._last_s is not None and now - self._last_s > self._merge_s
        left_s, self._last_s = self._last_s if silent else now, now
        faces = tuple(
            msgspec.structs.replace(face, track_id=self._person(face, now).track_id) for face in frame.faces
        )
        skipped = tuple(
            msgspec.structs.replace(face, track_id=self._unscored(face.track_id).track_id) for face in frame.skipped
        )
        for track in frame.ended:
            for person in self._tracks.pop(track, []):
                person.left_s = left_s
                self._gone.append(person)
        ended = [p.track_id for p in self._gone if p.left_s is not None and now - p.left_s >= self._merge_s]
        self._gone = [p for p in self._gone if p.left_s is not None and now - p.left_s < self._merge_s]
        return ScoredFrame(frame=frame.frame, faces=faces, ended=tuple(sorted(ended)), skipped=skipped)

    def current_people(self) -> dict[int, int]:
        """Return, for each track of the tracker, the person to whom unscored faces are assigned."""
        return {track: people[-1].track_id for track, people in self._tracks.items()}

    def _unscored(self, track: int) -> _Person:
        """Return the person to whom an unscored face is assigned."""
        people = self._tracks.get(track)
        if people is None:
            people = self._tracks[track] = [self._new_person()]
        return people[-1]

    def _person(self, face: ScoredFace, now: float) -> _Person:
        people = self._tracks.get(face.track_id)
        is_reliable = self._people is not None and face.quality >= self._reliable
        unit = unit_embedding(face) if is_reliable else None
        if people is None:
            person = self._returning_person(unit, now) or self._new_person()
            self._tracks[face.track_id] = [person]
        elif unit is None or self._people is None:
            person = people[-1]
        else:
            person = self._most_similar(people, unit)
        if unit is not None:
            mixed: Any = unit if person.mean is None else MEAN_DECAY * person.mean + (1 - MEAN_DECAY) * unit
            person.mean = mixed / np.float32(np.sqrt(mixed @ mixed))
        return person

    def _most_similar(self, people: list[_Person], unit: NDArray[np.float32]) -> _Person:
        assert self._people is not None
        best, similarity = people[-1], -1.0
        for person in people:
            if person.mean is None:  # known so far only from unreliable faces
                return person
            cosine = float(person.mean @ unit)
            if cosine > similarity:
                best, similarity = person, cosine
        if similarity < self._people.split_below and len(people) < MAX_PEOPLE_PER_TRACK:
            best = self._new_person()
            people.append(best)
            self.identity_switches += 1
        elif people[-1] is not best:  # unreliable faces are assigned to the last one
            people.remove(best)
            people.append(best)
        return best

    def _returning_person(self, unit: NDArray[np.float32] | None, now: float) -> _Person | None:
        if unit is None or self._people is None or not self._merge_s:
            return None
        known = [person for person in self._gone if person.mean is not None and person.left_s != now]
        if not known:
            return None
        similarity = [float(person.mean @ unit) for person in known if person.mean is not None]
        best = int(np.argmax(similarity))
        if similarity[best] < self._people.same_above:
            return None
        person = known[best]
        self._gone.remove(person)
        person.left_s = None
        return person

    def _new_person(self) -> _Person:
        person = _Person(track_id=self.next_id)
        self.next_id += 1
        return person
