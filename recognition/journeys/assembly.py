"""Assembles visits to journeys: by face first; where a face decides nothing, by place and time.

Pure: visits in, journeys out; the same visits give the same journeys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Literal

import msgspec
import numpy as np

from facegate.pipeline.records import Floats
from facegate.recognition.journeys.travel import TravelTimes, Walk, learn
from facegate.recognition.matching.decision_rule import DecisionRule

MAX_GAP_S = 600.0
"""Seconds without a visit after which the same person begins another journey."""
Joined = Literal["face", "place"]


class Sighting(msgspec.Struct, frozen=True, eq=False):
    """A visit, as far as journeys need it. Times are Unix times (UTC)."""

    visit: str
    camera: str
    first: float
    last: float
    name: str | None = None
    unknown_id: int | None = None
    """Number of an unknown visitor."""
    seen_before: int = 0
    """Number of its earlier visits."""
    embedding: Floats | None = None
    """Unit embedding ``(D,)``, if a template is kept."""


class JourneyVisit(msgspec.Struct, frozen=True):
    """A visit of a journey."""

    visit: str
    joined_by: Joined
    """``face``: name, number or face are the same; ``place``: cameras and times leave no other person."""


class Journey(msgspec.Struct, frozen=True):
    """The visits of one person, in order of their beginnings."""

    name: str | None
    unknown_id: int | None
    first: float
    last: float
    visits: tuple[JourneyVisit, ...]


class Journeys(msgspec.Struct, frozen=True):
    """Journeys, those that began last first, and the times that people take between cameras."""

    journeys: tuple[Journey, ...]
    travel: TravelTimes


class _Path:
    """A journey that is being assembled."""

    def __init__(self, name: str | None, unknown_id: int | None, sightings: list[Sighting]) -> None:
        self.name, self.unknown_id = name, unknown_id
        self.sightings = sightings
        self.joined: dict[str, Joined] = {each.visit: "face" for each in sightings}

    def fits(self, sighting: Sighting, travel: TravelTimes) -> bool:
        """Whether the person may have been there too."""
        before = [each for each in self.sightings if each.first <= sighting.first]
        after = [each for each in self.sightings if each.first > sighting.first]
        for each in self.sightings:
            if each.camera == sighting.camera and each.first < sighting.last and sighting.first < each.last:
                return False  # two faces before one camera at once
        last, following = (before[-1] if before else None), (after[0] if after else None)
        ways = [(last, sighting), (sighting, following)]
        given = [(a, b) for a, b in ways if a is not None and b is not None]
        return bool(given) and all(travel.plausible(a.camera, b.camera, b.first - a.last) for a, b in given)

    def add(self, sighting: Sighting, joined_by: Joined) -> None:
        self.sightings = sorted([*self.sightings, sighting], key=lambda each: (each.first, each.visit))
        self.joined[sighting.visit] = joined_by

    def finished(self) -> Journey:
        return Journey(
            self.name,
            self.unknown_id,
            self.sightings[0].first,
            max(each.last for each in self.sightings),
            tuple(JourneyVisit(each.visit, self.joined[each.visit]) for each in self.sightings),
        )


def assemble(
    sightings: Iterable[Sighting],
    rule: DecisionRule | None = None,
    given: Mapping[str, Mapping[str, float]] | None = None,
    max_gap_s: float = MAX_GAP_S,
) -> Journeys:
    """Assemble journeys.

    Visits with one name, or with one number of an unknown visitor, are of one person. Any other visit, also one of
    an unknown visitor who was seen but once, joins a journey that it fits in place and time if its face decides for
    it, or if its face does not speak against it and no other journey and no other such visit fits as well.

    Args:
        sightings: in any order.
        rule: decides on faces; without one, faces neither join nor part.
        given: see :func:`facegate.recognition.journeys.travel.learn`.
        max_gap_s: seconds without a visit after which the same person begins another journey.
    """
    ordered = sorted(sightings, key=lambda each: (each.first, each.visit))
    sure, weak = _split(ordered)
    paths = [
        _Path(group[0].name, group[0].unknown_id, part)
        for group in sure
        for part in _without_gaps(group, max_gap_s)
    ]
    travel = learn((walk for path in paths for walk in _walks(path.sightings)), given)
    _join(weak, paths, travel, rule)
    joined = {visit for path in paths for visit in path.joined}
    alone = [_Path(each.name, each.unknown_id, [each]) for each in weak if each.visit not in joined]
    finished = [path.finished() for path in (*paths, *alone)]
    return Journeys(
        tuple(sorted(finished, key=lambda each: (each.first, each.visits[0].visit), reverse=True)), travel
    )


def _split(ordered: Sequence[Sighting]) -> tuple[list[list[Sighting]], list[Sighting]]:
    """Visits of one identity each, and those whose identity is not sure."""
    groups: dict[tuple[str | None, int | None], list[Sighting]] = {}
    weak: list[Sighting] = []
    for each in ordered:
        if each.name is not None:
            groups.setdefault((each.name, None), []).append(each)
        elif each.unknown_id is not None:
            groups.setdefault((None, each.unknown_id), []).append(each)
        else:
            weak.append(each)
    sure = []
    for (name, _), group in groups.items():
        if name is None and len(group) == 1 and group[0].seen_before == 0:
            weak += group
        else:
            sure.append(group)
    return sure, sorted(weak, key=lambda each: (each.first, each.visit))


def _without_gaps(group: list[Sighting], max_gap_s: float) -> list[list[Sighting]]:
    parts, until = [[group[0]]], group[0].last
    for each in group[1:]:
        if each.first - until > max_gap_s:
            parts.append([])
        parts[-1].append(each)
        until = max(until, each.last)
    return parts


def _walks(sightings: Sequence[Sighting]) -> list[Walk]:
    return [Walk(a.camera, b.camera, b.first - a.last) for a, b in pairwise(sightings) if a.camera != b.camera]


def _join(weak: Sequence[Sighting], paths: Sequence[_Path], travel: TravelTimes, rule: DecisionRule | None) -> None:
    """Add to journeys what fits one of them, until nothing more does: a visit may lead to the next one."""
    left = list(weak)
    while left:
        fitting = {each.visit: [path for path in paths if path.fits(each, travel)] for each in left}
        chosen: list[tuple[Sighting, _Path, Joined]] = []
        for each in left:
            found = _chosen(each, fitting[each.visit], rule)
            if found is not None:
                chosen.append((each, *found))
        added = [
            (each, path, joined)
            for each, path, joined in chosen
            if joined == "face" or not any(_rivals(each, other, path, fitting) for other in left)
        ]
        for each, path, joined in added:
            if path.fits(each, travel):  # still, after those before it
                path.add(each, joined)
        rest = [each for each in left if not any(each.visit in path.joined for path in paths)]
        if len(rest) == len(left):
            return
        left = rest


def _chosen(sighting: Sighting, fitting: Sequence[_Path], rule: DecisionRule | None) -> tuple[_Path, Joined] | None:
    """The journey that a visit joins, and why."""
    scores = [_score(sighting, path, rule) for path in fitting]
    if rule is not None and fitting:
        known = [(score, index) for index, score in enumerate(scores) if score is not None]
        if known and max(known)[0] >= rule.threshold(len(fitting)):
            return fitting[max(known)[1]], "face"
    possible = [
        path
        for path, score in zip(fitting, scores, strict=True)
        if rule is None or score is None or not rule.is_impostor(score, 1)
    ]
    # A face that speaks against the others does not speak for the last one: all that fit in place and time count.
    return (possible[0], "place") if len(possible) == len(fitting) == 1 else None


def _score(sighting: Sighting, path: _Path, rule: DecisionRule | None) -> float | None:
    """Score of the most similar face of a journey; ``None`` where one of both has no template."""
    faces = [
        each.embedding
        for each in path.sightings
        if each.embedding is not None
        and sighting.embedding is not None
        and len(each.embedding) == len(sighting.embedding)
    ]
    if rule is None or sighting.embedding is None or not faces:
        return None
    norm = float(rule.normalization(sighting.embedding[None])[0])
    return float((np.stack(faces) @ sighting.embedding).max()) - norm


def _rivals(one: Sighting, other: Sighting, path: _Path, fitting: Mapping[str, Sequence[_Path]]) -> bool:
    """Whether two visits want the same place of a journey: both cannot be its person."""
    if one.visit == other.visit or path not in fitting[other.visit]:
        return False
    return one.first <= other.last and other.first <= one.last
