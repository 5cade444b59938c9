"""Writes the store: shots and tracks from gates, names from workers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from time import time

import msgspec

from facegate.errors import DeliveryError, StoreError
from facegate.sinks import wire
from facegate.sinks.wire import EncodedShot
from facegate.store.records import TrackRecord, VisitClip, VisitTemplate, VisitUpdate
from facegate.store.schema import StoreFile

SHADOW = "shadow"
_UNNAMED = "SELECT visit FROM visits WHERE name IS NULL AND "
IN_VIEW_S = 2.0
"""Somebody may be in the picture this long before and after the faces of a visit."""


def visit_id(run_id: str, camera: str, track_id: int) -> str:
    """Id of a visit."""
    return f"{run_id}/{camera}/{track_id}"


class StoreWriter(StoreFile):
    """A writer's connection."""

    def add_shots(self, entries: Sequence[EncodedShot]) -> None:
        """Store shots and the visits that they belong to; duplicates change nothing.

        Raises:
            StoreError: the file cannot be written; nothing was.
        """
        with self._transaction():
            for entry in entries:
                self._add_shot(entry)

    def _add_shot(self, entry: EncodedShot) -> None:
        header = wire.decode_header(entry.header)
        visit = visit_id(header.run_id, header.camera, header.track_id)
        if self._erased(visit):
            return
        seen = time() if header.received_at is None else header.received_at
        quality = header.quality.value
        row = self._db.execute(
            "INSERT OR IGNORE INTO shots (shot_id, visit, camera, seen, quality, rank, reason, name, header) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, (SELECT name FROM visits WHERE visit = ?), ?) RETURNING id",
            (header.shot_id, visit, header.camera, seen, quality, header.rank, header.reason, visit, entry.header),
        ).fetchone()
        if row is None:
            return
        self._db.execute("INSERT INTO crops VALUES (?, ?)", (row[0], entry.crop))
        if header.reason == SHADOW:
            return  # a sample of a dropped face is not part of a visit
        self._make_visit(visit, header.camera, header.track_id, seen)
        self._db.execute(
            "UPDATE visits SET shots = shots + 1, first = min(first, ?1), last = max(last, ?1), "
            "best = CASE WHEN best IS NULL OR ?2 > quality THEN ?3 ELSE best END, quality = max(quality, ?2), "
            "revision = ?4 WHERE visit = ?5",
            (seen, quality, header.shot_id, self._next_revision(), visit),
        )
        (best,) = self._db.execute("SELECT best FROM visits WHERE visit = ?", (visit,)).fetchone()
        if entry.context and best == header.shot_id:
            self._db.execute("DELETE FROM scenes WHERE shot IN (SELECT id FROM shots WHERE visit = ?)", (visit,))
            self._db.execute("INSERT INTO scenes VALUES (?, ?)", (row[0], entry.context))

    def update_visits(self, news: Sequence[VisitUpdate]) -> None:
        """Store recognition results of visits; idempotent. The name of a corrected visit stays.

        Raises:
            StoreError: the file cannot be written; nothing was.
        """
        with self._transaction():
            for item in news:
                if self._erased(item.visit):
                    continue
                seen = time() if item.seen is None else item.seen
                self._make_visit(item.visit, item.camera, item.track_id, seen)
                self._db.execute(
                    "UPDATE visits SET answered = 1, name = CASE WHEN corrected IS NULL THEN ? ELSE name END, "
                    "similarity = ?, margin = ?, fpir = ?, ended = CASE ? WHEN 'changed' THEN ended "
                    "WHEN 'ended' THEN 1 ELSE 0 END, unknown_id = ?, seen_before = ?, first_seen = ?, revision = ? "
                    "WHERE visit = ?",
                    (
                        *(item.name, item.similarity, item.margin, item.fpir, item.event),
                        *(item.unknown_id, item.seen_before, item.first_seen),
                        *(self._next_revision(), item.visit),
                    ),
                )
                self._name_shots(item.visit)

    def correct(self, visit: str, name: str | None, at: float | None) -> None:
        """Store who somebody says a visit was.

        Args:
            visit: id of a visit.
            name: the person; ``None`` for somebody unknown.
            at: Unix time of the correction; ``None`` if it was undone and ``name`` is the recognizer's again.

        Raises:
            StoreError: the file cannot be written; nothing was.
        """
        with self._transaction():
            self._db.execute(
                "UPDATE visits SET name = ?, corrected = ?, revision = ? WHERE visit = ?",
                (name, at, self._next_revision(), visit),
            )
            self._name_shots(visit)

    def _name_shots(self, visit: str) -> None:
        self._db.execute(
            "UPDATE shots SET name = (SELECT name FROM visits WHERE visit = ?1) WHERE visit = ?1", (visit,)
        )

    def put_templates(self, templates: Sequence[VisitTemplate]) -> None:
        """Store templates, replacing earlier ones of their visits; those of visits not stored are ignored.

        Raises:
            StoreError: the file cannot be written; nothing was.
        """
        with self._transaction():
            for each in templates:
                # Under a new id: an index never has to change a template that it has.
                self._db.execute(
                    "DELETE FROM templates WHERE visit = (SELECT id FROM visits WHERE visit = ?)", (each.visit,)
                )
                self._db.execute(
                    "INSERT INTO templates (visit, recognizer, vector) SELECT id, ?, ? FROM visits WHERE visit = ?",
                    (each.recognizer, each.vector, each.visit),
                )

    def delete_templates(self) -> int:
        """Delete all templates; return how many there were.

        Raises:
            StoreError: the file cannot be written.
        """
        with self._transaction():
            count = self._db.execute("DELETE FROM templates").rowcount
        with self._errors():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # nothing may remain in the write-ahead log
        return count

    def _make_visit(self, visit: str, camera: str, track_id: int, seen: float) -> None:
        self._db.execute(
            "INSERT INTO visits (visit, camera, track_id, first, last, revision) SELECT ?1, ?2, ?3, ?4, ?4, 0 "
            "WHERE NOT EXISTS (SELECT 1 FROM visits WHERE visit = ?1)",
            (visit, camera, track_id, seen),
        )

    def names(self) -> list[str]:
        """All names in the store, as they are spelled there.

        Raises:
            StoreError: the file cannot be read.
        """
        with self._errors():
            rows = self._db.execute("SELECT name FROM visits UNION SELECT name FROM shots").fetchall()
        return [name for (name,) in rows if name is not None]

    def rename(self, name: str, new: str) -> None:
        """Rename a person.

        Raises:
            StoreError: the file cannot be written.
        """
        with self._transaction():
            revision = self._next_revision()
            self._db.execute("UPDATE visits SET name = ?, revision = ? WHERE name = ?", (new, revision, name))
            for table in ("shots", "confirmations"):
                self._db.execute(f"UPDATE {table} SET name = ? WHERE name = ?", (new, name))
        with self._errors():
            self._db.execute(
                "PRAGMA wal_checkpoint(TRUNCATE)"
            )  # the old name must not remain in the write-ahead log

    def name_visits(self, visits: Iterable[str], unknown_id: int | None, name: str) -> None:
        """Name visits without a name: those given, and those of an unknown visitor.

        Raises:
            StoreError: the file cannot be written.
        """
        with self._transaction():
            revision = self._next_revision()
            found = [visit for (visit,) in self._db.execute(_UNNAMED + "unknown_id = ?", (unknown_id,))]
            for visit in visits:
                found += [visit for (visit,) in self._db.execute(_UNNAMED + "visit = ?", (visit,))]
            for table in ("visits", "shots"):
                self._db.executemany(
                    f"UPDATE {table} SET name = ? WHERE visit = ?", [(name, visit) for visit in found]
                )
            self._db.executemany(
                "UPDATE visits SET unknown_id = NULL, seen_before = NULL, first_seen = NULL, revision = ? "
                "WHERE visit = ?",
                [(revision, visit) for visit in found],
            )

    def move_visits(self, visits: Iterable[str], unknown_id: int) -> None:
        """Give visits without a name to another unknown visitor.

        Raises:
            StoreError: the file cannot be written.
        """
        with self._transaction():
            revision = self._next_revision()
            self._db.executemany(
                "UPDATE visits SET unknown_id = ?, revision = ? WHERE visit = ? AND name IS NULL",
                [(unknown_id, revision, visit) for visit in visits],
            )

    def end_visits(self, visits: Iterable[str]) -> None:
        """Mark visits as ended of which no worker will report the end.

        Raises:
            StoreError: the file cannot be written.
        """
        with self._transaction():
            revision = self._next_revision()
            self._db.executemany(
                "UPDATE visits SET ended = 1, revision = ? WHERE visit = ? AND NOT ended",
                [(revision, visit) for visit in visits],
            )

    def _erased(self, visit: str) -> bool:
        return self._db.execute("SELECT 1 FROM erased WHERE visit = ?", (visit,)).fetchone() is not None

    def erase_person(self, *names: str, also: Iterable[str] = ()) -> int:
        """Delete a person's visits with shots and tracks; return how many there were.

        Whole pictures of others that the cameras took meanwhile are deleted too. Late data of these visits is
        refused.

        Args:
            names: the person's names, as they are spelled in the store.
            also: further visits of this person, not stored under the name yet.

        Raises:
            StoreError: the file cannot be written.
        """
        with self._transaction():
            named = [
                row
                for table in ("visits", "shots")
                for name in names
                for row in self._db.execute(f"SELECT DISTINCT visit FROM {table} WHERE name = ?", (name,))
            ]
            visits = list({*named, *((visit,) for visit in also)})
            self._erase_scenes([visit for (visit,) in visits])
            now = time()
            self._db.executemany(
                "INSERT OR IGNORE INTO erased VALUES (?, ?)", [(visit, now) for (visit,) in visits]
            )
            for table in ("shots", "tracks", "clips", "visits"):
                self._db.executemany(f"DELETE FROM {table} WHERE visit = ?", visits)
        with self._errors():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # nothing may remain in the write-ahead log
        return len(visits)

    def add_clip(self, clip: VisitClip) -> None:
        """Store seconds of video around a visit.

        Raises:
            StoreError: the file cannot be written; nothing was.
        """
        with self._transaction():
            if not self._erased(clip.visit):
                self._db.execute(
                    "INSERT OR REPLACE INTO clips (visit, camera, began, offset_s, seconds, codec, mp4) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?)",
                    msgspec.structs.astuple(clip),
                )

    def _erase_scenes(self, visits: Sequence[str]) -> None:
        """Delete the whole pictures and clips that were taken while these visits lasted, by their cameras."""
        for visit in visits:
            row = self._db.execute(
                "SELECT visits.camera, min(visits.first, coalesce(tracks.first, visits.first)), "
                "max(visits.last, coalesce(tracks.last, visits.last)) FROM visits "
                "LEFT JOIN tracks ON tracks.visit = visits.visit WHERE visits.visit = ?",
                (visit,),
            ).fetchone()
            if row is None:
                continue
            camera, first, last = row
            period = (camera, first - IN_VIEW_S, last + IN_VIEW_S)
            self._db.execute(
                "DELETE FROM scenes WHERE shot IN (SELECT id FROM shots WHERE camera = ? AND seen BETWEEN ? AND ?)",
                period,
            )
            self._db.execute("DELETE FROM clips WHERE camera = ? AND began + seconds >= ? AND began <= ?", period)

    def add_tracks(self, tracks: Sequence[TrackRecord]) -> None:
        """Store the decision histories of tracks, replacing earlier ones.

        Raises:
            StoreError: the file cannot be written; nothing was.
        """
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO tracks (visit, camera, first, last, track) VALUES (?, ?, ?, ?, ?)",
                [
                    (t.visit, t.camera, t.first, t.last, msgspec.msgpack.encode(t))
                    for t in tracks
                    if not self._erased(t.visit)
                ],
            )


class StoreTarget:
    """Output for shots: the store of a console on this host."""

    batch_size = 32

    def __init__(self, path: Path) -> None:
        """Open the store.

        Raises:
            StoreError: the file cannot be used.
        """
        self.name = f"store {path}"
        self._store = StoreWriter(path, create=True)

    def deliver(self, entries: Sequence[EncodedShot]) -> None:
        """See :class:`facegate.sinks.spooled_sink.Target`."""
        try:
            self.write(self._store, entries)
        except StoreError as error:
            raise DeliveryError(str(error)) from error

    def write(self, store: StoreWriter, entries: Sequence[EncodedShot]) -> None:
        """Store shots.

        Raises:
            StoreError: the file cannot be written.
        """
        store.add_shots(entries)

    def close(self) -> None:
        """See :class:`facegate.sinks.spooled_sink.Target`."""
        self._store.close()
