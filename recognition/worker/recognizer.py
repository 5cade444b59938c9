"""Recognizes shots and groups them into visits, independent of the transport."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from time import monotonic, perf_counter, time
from typing import IO

import msgspec
import structlog

from facegate.errors import DeliveryError, GalleryError
from facegate.pipeline.records import Box, Floats, Image
from facegate.recognition.embedders import Embedder, recognizer_id
from facegate.recognition.enrollment.unknowns import UnknownStore
from facegate.recognition.matching.decision_rule import DecisionRule
from facegate.recognition.matching.gallery import Gallery, Match
from facegate.recognition.worker.metrics import WorkerMetrics
from facegate.recognition.worker.name_changes import vanished
from facegate.recognition.worker.open_visits import Kept, OpenVisits
from facegate.recognition.worker.strangers import Strangers
from facegate.recognition.worker.template_entries import template_entry
from facegate.recognition.worker.use_log import UseLog
from facegate.recognition.worker.visit_state import VisitState
from facegate.recognition.worker.visits import VisitEvent, VisitKey, Visits, visit_key
from facegate.recognition.worker.walks import Walks
from facegate.sinks import wire
from facegate.sinks.wire import EncodedShot

MAX_REMEMBERED_SHOTS = 10_000
"""Number of shot ids remembered to detect duplicates."""
SCRUB_S = 60.0
"""Time after which nothing of the templates of ended visits is left in the visits file."""

log = structlog.get_logger(__name__)


class ShotResult(msgspec.Struct, frozen=True, tag_field="event", tag="shot", omit_defaults=True):
    """Result of one shot: a line of the output; see :class:`VisitEvent` for the other lines."""

    shot_id: str
    camera: str
    track_id: int
    name: str | None
    similarity: float
    quality: int
    latency_ms: float
    pts_s: float
    rank: int
    box: Box
    lease: int = 0
    """Fencing token of a node in a fleet; a shot with a higher one comes from a later owner of the camera."""


class _BestFace(msgspec.Struct, frozen=True, eq=False):
    """Best face of a visit so far."""

    header: wire.ShotHeader
    crop: Image
    embedding: Floats


class Recognizer:
    """Identifies the person of each shot and writes a line for it; duplicates are written once."""

    def __init__(
        self,
        gallery: Callable[[], Gallery],
        embedder: Embedder,
        rule: DecisionRule,
        output: IO[str] = sys.stdout,
        unknowns: UnknownStore | None = None,
        on_events: Callable[[Sequence[VisitEvent]], None] | None = None,
        *,
        strangers: DecisionRule | None = None,
        on_templates: Callable[[Sequence[EncodedShot]], None] | None = None,
        visits: tuple[OpenVisits, Kept] | None = None,
        written: Collection[str] = (),
        renamed: Callable[[Mapping[str, str | None]], None] = lambda names: None,
        uses: UseLog | None = None,
        min_shots: int = 1,
    ) -> None:
        """Configure.

        Args:
            gallery: returns the current gallery.
            embedder: computes embeddings.
            rule: the decision rule.
            output: receives the lines.
            unknowns: stores the best face of visits without a name; its owner closes it.
            on_events: publishes visit events.
            strangers: decides whether an unknown visitor is an earlier one; by default they get no numbers.
            on_templates: stores the templates of visits that have new shots.
            visits: file of open visits, and the state that an earlier process left there.
            written: ids of events that an earlier process has written to ``output``.
            renamed: called with names no longer in the gallery, and their new names or ``None``.
            uses: logs the uses for an audit.
            min_shots: number of shots of a visit that must agree on its name.
        """
        self._newest = gallery
        self._gallery = gallery()
        """Gallery for one batch, or one round of :meth:`expire_visits`."""
        self._embedder = embedder
        self._rule = rule
        self._recognizer = recognizer_id(embedder)
        self._strangers = (
            None if unknowns is None or strangers is None else Strangers(unknowns, embedder, strangers)
        )
        identify = self._strangers.identify if self._strangers is not None else lambda state: None
        self._visits = Visits(lambda: self._gallery, rule, identify, min_shots)
        self._walks = Walks()
        self._renamed = renamed
        self._scrub = False
        """Whether the visits file may still hold removed names."""
        self._scrub_at = monotonic() + SCRUB_S
        self._file = None if visits is None else visits[0]
        self._file_fails = False
        self._output = output
        self._unknowns = unknowns
        self._publish_events = on_events
        self._store_templates = on_templates
        self._templates: dict[VisitKey, int] = {}
        """Number of shots in the last template of each open visit."""
        self._best: dict[VisitKey, _BestFace] = {}
        self._seen: OrderedDict[str, wire.Ack] = OrderedDict()
        self.results = 0
        self.named = 0
        self.metrics = WorkerMetrics(lambda: len(self._gallery.names))
        self._uses = uses
        if uses is not None:
            uses.start(self._gallery)
        if visits is not None:
            self._resume(visits[1], written)

    def recognize(self, shots: Sequence[tuple[wire.ShotHeader, bytes]]) -> list[wire.Ack | DeliveryError]:
        """Recognize a batch of shots; return their acknowledgements.

        An unreadable crop gets an error instead; sending it again would not help.
        """
        started = perf_counter()
        results: list[DeliveryError | None] = [None] * len(shots)
        new: dict[str, tuple[wire.ShotHeader, Image]] = {}
        for index, (header, crop) in enumerate(shots):
            try:
                if header.shot_id in self._seen or header.shot_id in new:
                    self.metrics.shots.labels("duplicate").inc()
                else:
                    new[header.shot_id] = header, wire.unpack_crop(header, crop)
            except DeliveryError as error:
                self.metrics.shots.labels("invalid").inc()
                results[index] = error
        crops = {header.shot_id: crop for header, crop in shots}
        embeddings = self._embedder.embed([crop for _, crop in new.values()])
        self._follow_gallery()
        lines: list[ShotResult | VisitEvent] = []
        for (header, _), embedding in zip(new.values(), embeddings, strict=True):
            match = self._gallery.match(embedding, self._rule)
            events = self._visits.shot(header, embedding, match, monotonic())
            if self._visits.is_open(visit_key(header)):
                self._keep_best(header, new[header.shot_id][1], embedding)
            latency_ms = round((perf_counter() - started) * 1000 / len(new), 3)
            lines += [_result(header, match.name, match.similarity, latency_ms), *events]
            if self._uses is not None:
                self._uses.input(visit_key(header), header.shot_id, crops[header.shot_id])
            self._seen[header.shot_id] = self._ack(header, match, latency_ms)
            if len(self._seen) > MAX_REMEMBERED_SHOTS + len(shots):
                self._seen.popitem(last=False)
        self._save_and_publish(lines)
        return [
            self._seen[header.shot_id] if result is None else result
            for result, (header, _) in zip(results, shots, strict=True)
        ]

    def health(self) -> tuple[bool, bytes]:
        """Return the response of ``/healthz``: a running worker is healthy."""
        found = {"ok": True, "people": len(self._gallery.names), "shots": self.results, "named": self.named}
        return True, msgspec.json.encode(found)

    def ended(self, end: wire.TrackEnded) -> None:
        """Handle the end of a track."""
        self._visits.ended(end, monotonic())

    def live(self, live: wire.LiveTracksMessage) -> None:
        """Handle a gate's report of live tracks."""
        self._save_and_publish(self._visits.live(live, monotonic()))

    def run_over(self, run_id: str) -> None:
        """Handle the end of a gate's run."""
        self._visits.run_over(run_id, monotonic())

    def expire_visits(self) -> None:
        """End visits that are over, and apply changes of the gallery; call about every second."""
        self._follow_gallery()
        if self._strangers is not None:
            self._strangers.refresh()
        self._save_and_publish(self._visits.expire(monotonic()))
        if self._scrub or monotonic() >= self._scrub_at:
            self._scrub, self._scrub_at = False, monotonic() + SCRUB_S
            self._keep(OpenVisits.scrub)

    def finish(self) -> None:
        """End all visits."""
        self._save_and_publish(self._visits.finish(monotonic()))
        if self._uses is not None:
            self._uses.end()

    def present(self) -> list[VisitEvent]:
        """The open visits, one event each."""
        return self._visits.present()

    def _follow_gallery(self) -> None:
        gallery = self._newest()
        if gallery is self._gallery:
            return
        gone = vanished(self._gallery, gallery)
        self._gallery = gallery
        if self._uses is not None:
            self._uses.gallery(gallery)
        if gone:
            self._renamed(gone)
            self._scrub = True

    def _resume(self, kept: Kept, written: Collection[str]) -> None:
        """Resume the visits of an earlier process, and publish its pending events."""
        self._visits.resume(kept.opened, kept.ended, monotonic())
        names = {None, *self._gallery.names}
        events = [event for event in kept.untold if event.event == "ended" or event.name in names]
        self._publish(
            written=written,
            lines=[
                event if event.name in names and event.before in names
                else msgspec.structs.replace(event, name=event.name if event.name in names else None, before=None)
                for event in events
            ]
        )  # fmt: skip
        self._save_and_publish([])

    def _ack(self, header: wire.ShotHeader, match: Match, latency_ms: float) -> wire.Ack:
        named, conclusive = self._visits.status(header)
        feedback = wire.Feedback(named, conclusive, match.similarity, match.runner_up_similarity, self._recognizer)
        return wire.Ack(header.shot_id, latency_ms, feedback)

    def _keep_best(self, header: wire.ShotHeader, crop: Image, embedding: Floats) -> None:
        key = visit_key(header)
        known = self._best.get(key)
        if self._unknowns is not None and (known is None or header.quality.value > known.header.quality.value):
            self._best[key] = _BestFace(header, crop, embedding)

    def _keep_unknown(self, event: VisitEvent) -> None:
        face = self._best.pop(event.key, None)
        mean = None if self._strangers is None else self._strangers.end(event.visit)
        if self._unknowns is None or face is None or event.name is not None:
            return
        if not self._visits.face_is_wanted(event.key):
            return
        header = face.header
        seen = time() if header.received_at is None else header.received_at
        version = self._embedder.version
        vector, quality = face.embedding if mean is None else mean, header.quality.value
        try:
            number, appearance = event.unknown_id, None
            if self._strangers is not None and number is not None:
                appearance = self._strangers.keep(number, vector, quality)
            self._unknowns.keep(
                event.visit, header.camera, seen, quality, face.crop, version, vector, number, appearance
            )
        except GalleryError as error:
            log.error("cannot store unknown face", visit=event.visit, reason=str(error))

    def _save_and_publish(self, lines: Sequence[ShotResult | VisitEvent]) -> None:
        """Save changes, then publish them: after a crash in between, the next process publishes them."""
        lines = [self._walks.complete(line) if isinstance(line, VisitEvent) else line for line in lines]
        events = [line for line in lines if isinstance(line, VisitEvent)]
        changes = self._visits.touched()
        if self._uses is not None:
            self._uses.events(events)  # first: after a crash a match may be logged twice, but never not at all
        self._keep(lambda file: file.save(changes, events))
        for event in events:
            self.metrics.visit_events.labels(event.event).inc()
            if event.event == "ended":
                self._keep_unknown(event)
        for line in lines:
            if isinstance(line, ShotResult):
                self.results += 1
                self.named += line.name is not None
                self.metrics.shots.labels("unknown" if line.name is None else "named").inc()
                self.metrics.duration.observe(line.latency_ms / 1000)
        self._publish(lines)
        self._put_templates(changes)

    def _put_templates(self, changes: Sequence[tuple[VisitState, bool]]) -> None:
        """Store the templates of visits with new shots; after their events, which make the visits known."""
        if self._store_templates is None:
            return
        new = [state for state, _ in changes if state.sum and self._templates.get(state.key) != state.shots]
        if new:
            self._store_templates([template_entry(state, self._recognizer) for state in new])
        for state, opened in changes:
            if opened:
                self._templates[state.key] = state.shots
            else:
                self._templates.pop(state.key, None)

    def _publish(self, lines: Sequence[ShotResult | VisitEvent], written: Collection[str] = ()) -> None:
        for line in lines:
            if isinstance(line, VisitEvent) and line.id in written:
                continue
            self._output.write(msgspec.json.encode(line).decode() + "\n")
        if lines:
            self._output.flush()
        events = [line for line in lines if isinstance(line, VisitEvent)]
        if events:
            if self._publish_events is not None:
                self._publish_events(events)
            self._keep(OpenVisits.mark_published)

    def _keep(self, change: Callable[[OpenVisits], None]) -> None:
        """Update the visits file; a full disk only affects what the next process can resume."""
        if self._file is None:
            return
        try:
            change(self._file)
            self._file_fails = False
        except DeliveryError as error:
            if not self._file_fails:
                log.error("cannot save open visits", reason=str(error))
            self._file_fails = True


def _result(header: wire.ShotHeader, name: str | None, similarity: float, latency_ms: float) -> ShotResult:
    return ShotResult(
        shot_id=header.shot_id,
        camera=header.camera,
        track_id=header.track_id,
        name=name,
        similarity=round(similarity, 4),
        quality=header.quality.value,
        latency_ms=latency_ms,
        pts_s=round(header.pts_s, 3),
        rank=header.rank,
        box=tuple(round(value, 1) for value in header.box),  # type: ignore[arg-type]
    )
