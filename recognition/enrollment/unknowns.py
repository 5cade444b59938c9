"""Unknown visitors: best faces of visits without a name, and who they belong to.

A worker gives each unknown visitor a number that lasts. Faces without one, of earlier versions, are clustered by
complete linkage: any two faces of a cluster are similar enough to be one person, so that one face in between never
joins two people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf

import msgspec
import numpy as np

from facegate.clock import FileClock, expired_row
from facegate.detectors.align import CROP_SIZE
from facegate.errors import GalleryError
from facegate.pipeline.records import Floats, Image
from facegate.recognition.embedders import Embedder
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.records import FaceSample
from facegate.recognition.enrollment.schema import GalleryFile, decode_crop, encode_crop
from facegate.recognition.matching.linkage import complete_linkage

MAX_VISITS = 2000
MAX_AGE_S = 30 * 86400.0
MAX_ENROLLED_SHOTS = 5
MAX_OPEN_S = 86400.0
"""An unknown visitor without a face is deleted after this long: its first visit has ended long ago."""
MIN_QUALITY = 10
"""Minimum quality of a face that is kept."""
ENROLLED_QUALITY = 30
"""Minimum quality of a face that is enrolled, unless there is none as good."""


class UnknownVisit(msgspec.Struct, frozen=True):
    """The best face of a visit without a name."""

    row: int
    visit: str
    camera: str
    seen: float
    """Unix time (UTC)."""
    quality: int


class UnknownCluster(msgspec.Struct, frozen=True):
    """Visits of one unknown person."""

    id: int
    """Row of its first visit."""
    visits: list[UnknownVisit]
    """Oldest first."""
    cameras: list[str]
    days: int
    """Number of days (UTC) with a visit."""
    number: int | None = None
    """Number of the unknown visitor, as in events; ``None`` for faces of earlier versions."""
    first_seen: float = 0.0
    """Unix time (UTC) of the first visit."""
    visit_count: int = 0
    """Number of visits, with those whose faces are no longer stored."""


class StrangerFace(msgspec.Struct, frozen=True, eq=False):
    """A face of an unknown visitor with a number."""

    stranger: int
    appearance: int
    """Number that it had before unknown visitors were merged."""
    quality: int
    vector: Floats
    """``(D,)``, unit length."""


class UnknownStore(GalleryFile):
    """Unknown faces in a gallery's file."""

    _version = 0

    def keep(
        self,
        visit: str,
        camera: str,
        seen: float,
        quality: int,
        crop: Image,
        version: str,
        vector: Floats,
        stranger: int | None = None,
        appearance: int | None = None,
    ) -> None:
        """Store the best face of a visit; beyond ``MAX_VISITS``, the oldest are deleted.

        Args:
            visit: id of the visit; replaces its earlier face.
            camera: name of the camera.
            seen: Unix time (UTC).
            quality: 0..100; a face below ``MIN_QUALITY`` is not stored.
            crop: ``(112, 112, 3)`` uint8 RGB.
            version: version of the embedder.
            vector: ``(D,)`` unit embedding.
            stranger: number of the unknown visitor.
            appearance: see :class:`StrangerFace`; the number by default.
        """
        if quality < MIN_QUALITY:
            return
        with self._transaction():
            self._db.execute(
                "UPDATE strangers SET visits = visits + 1 WHERE id = ? "
                "AND NOT EXISTS (SELECT 1 FROM unknowns WHERE visit = ? AND stranger = strangers.id)",
                (stranger, visit),
            )
            self._db.execute(
                "INSERT INTO unknowns (visit, camera, seen, quality, crop, version, vector, stranger, appearance) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (visit) DO UPDATE SET quality = excluded.quality, "
                "crop = excluded.crop, version = excluded.version, vector = excluded.vector, "
                "stranger = excluded.stranger, appearance = excluded.appearance",
                (
                    *(visit, camera, seen, quality, encode_crop(crop), version),
                    *(np.asarray(vector, "<f4").tobytes(), stranger, appearance or stranger),
                ),
            )
            self._db.execute(
                "DELETE FROM unknowns WHERE id NOT IN (SELECT id FROM unknowns ORDER BY id DESC LIMIT ?)",
                (MAX_VISITS,),
            )

    def tidy(self, clock: FileClock, now: float, elapsed: float) -> int:
        """Delete faces older than ``MAX_AGE_S``, unless the host's clock was moved; return how many.

        Args:
            clock: the same instance at every call.
            now: Unix time.
            elapsed: see :func:`facegate.clock.elapsed_s`.
        """
        with self._errors():
            newest = self._db.execute("SELECT seen FROM unknowns ORDER BY id DESC LIMIT 1").fetchone()
            if not clock.check(self._db, None if newest is None else newest[0], now, elapsed):
                return 0
            old = expired_row(self._db, "unknowns", "seen", now - MAX_AGE_S, now)
        if old is None:
            return 0
        with self._deletion():
            gone = self._db.execute("DELETE FROM unknowns WHERE id <= ?", (old,)).rowcount
            self._delete_faceless(now - MAX_OPEN_S)
            return gone

    def forget_before(self, oldest: Mapping[str, float]) -> int:
        """Delete faces that are older than their camera keeps them, Unix times; return how many."""
        with self._deletion():
            gone = sum(
                self._db.execute("DELETE FROM unknowns WHERE camera = ? AND seen < ?", limit).rowcount
                for limit in oldest.items()
            )
            self._delete_faceless(min(oldest.values(), default=0.0))
            return gone

    def forget(self, rows: Sequence[int]) -> None:
        """Delete unknown faces."""
        with self._deletion():
            self._db.executemany("DELETE FROM unknowns WHERE id = ?", [(row,) for row in rows])
            self._delete_faceless(inf)

    def forget_all(self) -> None:
        """Delete every unknown face."""
        with self._deletion():
            self._db.execute("DELETE FROM unknowns")
            self._delete_faceless(inf)

    @contextmanager
    def _deletion(self) -> Iterator[None]:
        """A transaction of which nothing remains in the write-ahead log."""
        with self._transaction():
            yield
        with self._errors():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _delete_faceless(self, before: float) -> None:
        """Delete unknown visitors first seen before a time that have no face left, within a transaction."""
        self._db.execute(
            "DELETE FROM strangers WHERE first < ? AND id NOT IN "
            "(SELECT stranger FROM unknowns WHERE stranger IS NOT NULL)",
            (before,),
        )

    def touched(self) -> bool:
        """Whether another connection has written since the last call; cheap."""
        with self._errors():
            before, self._version = self._version, self._pragma("data_version")
        return before != self._version

    def new_stranger(self, first: float) -> int:
        """Number a new unknown visitor, first seen at a Unix time."""
        with self._transaction():
            row = self._db.execute("INSERT INTO strangers (first) VALUES (?) RETURNING id", (first,)).fetchone()
        return int(row[0])

    def delete_stranger(self, number: int) -> None:
        """Delete an unknown visitor without a face."""
        with self._transaction():
            self._db.execute("DELETE FROM strangers WHERE id = ? AND visits = 0", (number,))

    def strangers(self) -> list[tuple[int, float, int]]:
        """Number, Unix time of the first visit, and number of visits of each unknown visitor."""
        with self._errors():
            return self._db.execute("SELECT id, first, visits FROM strangers ORDER BY id").fetchall()

    def stranger_faces(self, embedder: Embedder) -> list[StrangerFace]:
        """Faces of unknown visitors with a number."""
        with self._errors():
            rows = self._db.execute(
                "SELECT id, version, vector, stranger, appearance, quality FROM unknowns "
                "WHERE stranger IS NOT NULL ORDER BY id"
            ).fetchall()
        vectors = self._vectors(embedder, [row[:3] for row in rows])
        return [StrangerFace(row[3], row[4], row[5], vector) for row, vector in zip(rows, vectors, strict=True)]

    def stranger_negatives(self, embedder: Embedder) -> list[tuple[int, Floats]]:
        """Number of an unknown visitor and embedding ``(D,)`` of each face that was taken out of it."""
        with self._errors():
            rows = self._db.execute(
                "SELECT unknowns.id, version, vector, n.stranger FROM stranger_negatives n "
                "JOIN unknowns ON unknowns.id = n.face"
            ).fetchall()
        vectors = self._vectors(embedder, [row[:3] for row in rows])
        return [(row[3], vector) for row, vector in zip(rows, vectors, strict=True)]

    def split(self, cluster: UnknownCluster, rows: Collection[int]) -> int:
        """Take faces out of an unknown visitor; they become a new one, whose number is returned.

        Both learn: a face more similar to one that was taken out than to the rest is somebody else, and vice versa.

        Raises:
            GalleryError: the cluster has no such rows, or no others.
        """
        out = [visit for visit in cluster.visits if visit.row in rows]
        rest = [visit for visit in cluster.visits if visit.row not in rows]
        if not out or not rest:
            raise GalleryError("a split needs faces that leave and faces that stay: choose some, but not all")
        with self._transaction():
            old, new = (cluster.number or self._number(rest)), self._number(out)
            self._db.execute("UPDATE strangers SET visits = max(visits - ?, 1) WHERE id = ?", (len(out), old))
            pairs = [(old, visit.row) for visit in out] + [(new, visit.row) for visit in rest]
            self._db.executemany("INSERT OR IGNORE INTO stranger_negatives VALUES (?, ?)", pairs)
        return new

    def merge(self, cluster: UnknownCluster, into: UnknownCluster) -> int:
        """Make two unknown visitors one; return its number."""
        with self._transaction():
            kept = into.number or self._number(into.visits)
            gone = cluster.number or self._number(cluster.visits)
            self._db.execute("UPDATE unknowns SET stranger = ? WHERE stranger = ?", (kept, gone))
            self._db.execute(
                "UPDATE strangers SET first = min(strangers.first, g.first), visits = strangers.visits + g.visits "
                "FROM (SELECT first, visits FROM strangers WHERE id = ?) g WHERE strangers.id = ?",
                (gone, kept),
            )
            self._db.execute("DELETE FROM strangers WHERE id = ?", (gone,))
            self._db.execute(
                "DELETE FROM stranger_negatives WHERE stranger = ?1 AND face IN "
                "(SELECT id FROM unknowns WHERE stranger = ?1)",
                (kept,),
            )
        return kept

    def _number(self, visits: Sequence[UnknownVisit]) -> int:
        """Give faces a new number, within a transaction."""
        first = min(visit.seen for visit in visits)
        row = self._db.execute(
            "INSERT INTO strangers (first, visits) VALUES (?, ?) RETURNING id", (first, len(visits))
        ).fetchone()
        self._db.executemany(
            "UPDATE unknowns SET stranger = ?1, appearance = ?1 WHERE id = ?2",
            [(row[0], visit.row) for visit in visits],
        )
        return int(row[0])

    def crop(self, row: int) -> Image:
        """An unknown face, ``(112, 112, 3)`` uint8 RGB.

        Raises:
            GalleryError: it was deleted, or is damaged.
        """
        with self._errors():
            found = self._db.execute("SELECT crop FROM unknowns WHERE id = ?", (row,)).fetchone()
        return decode_crop(None if found is None else found[0], self._path)

    def clusters(self, embedder: Embedder, min_similarity: float) -> list[UnknownCluster]:
        """Unknown visitors, most faces first.

        Args:
            embedder: computes missing embeddings of faces stored with another model.
            min_similarity: similarity from which two faces are one person.
        """
        with self._errors():
            rows = self._db.execute(
                "SELECT id, visit, camera, seen, quality, version, vector, stranger FROM unknowns ORDER BY seen, id"
            ).fetchall()
        numbered = {number: (first, visits) for number, first, visits in self.strangers()}
        groups: dict[tuple[bool, int], list[UnknownVisit]] = {}
        for row in rows:
            if row[7] in numbered:
                groups.setdefault((True, row[7]), []).append(UnknownVisit(*row[:5]))
        others = [row for row in rows if row[7] not in numbered]
        vectors = self._vectors(embedder, [(row[0], *row[5:7]) for row in others])
        for row, label in zip(others, _labels(vectors, min_similarity), strict=True):
            groups.setdefault((False, label), []).append(UnknownVisit(*row[:5]))
        clusters = [
            UnknownCluster(
                id=group[0].row,
                visits=group,
                cameras=sorted({unknown.camera for unknown in group}),
                days=len({int(unknown.seen // 86400) for unknown in group}),
                number=number if is_numbered else None,
                first_seen=min(group[0].seen, numbered[number][0] if is_numbered else group[0].seen),
                visit_count=max(len(group), numbered[number][1] if is_numbered else 0),
            )
            for (is_numbered, number), group in groups.items()
        ]
        return sorted(clusters, key=lambda cluster: (-len(cluster.visits), cluster.id))

    def vectors(self, embedder: Embedder) -> tuple[list[int], Floats]:
        """Rows and ``(N, D)`` unit embeddings of all unknown faces."""
        with self._errors():
            rows = self._db.execute("SELECT id, version, vector FROM unknowns ORDER BY id").fetchall()
        return [row[0] for row in rows], np.array(self._vectors(embedder, rows), np.float32)

    def _vectors(self, embedder: Embedder, rows: Sequence[tuple[int, str, bytes]]) -> list[Floats]:
        return [
            np.frombuffer(kept, "<f4") if version == embedder.version else embedder.embed([self.crop(row)])[0]
            for row, version, kept in rows
        ]


def _labels(vectors: Sequence[Floats], min_similarity: float) -> list[int]:
    if len(vectors) < 2:
        return list(range(len(vectors)))
    rows = np.stack(vectors).astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return complete_linkage(1 - rows @ rows.T, 1 - min_similarity)


def enroll_cluster(
    unknowns: UnknownStore, people: GalleryStore, cluster: UnknownCluster, name: str, without: Collection[int]
) -> int:
    """Enroll the best faces of a cluster and delete its unknown faces; return how many pictures were new.

    Args:
        unknowns: unknown faces of the same file as ``people``.
        people: the gallery.
        cluster: the cluster.
        name: the person, created if missing.
        without: rows of faces of other people; they stay unknown.
    """
    right = [unknown for unknown in cluster.visits if unknown.row not in without]
    samples = []
    good = [unknown for unknown in right if unknown.quality >= ENROLLED_QUALITY] or right
    for unknown in sorted(good, key=lambda unknown: -unknown.quality)[:MAX_ENROLLED_SHOTS]:
        crop = unknowns.crop(unknown.row)
        digest = hashlib.sha256(crop.tobytes()).hexdigest()
        samples.append(
            FaceSample(f"visit {unknown.visit}", digest, crop, unknown.quality, float(CROP_SIZE), 0.0, 1)
        )
    added = people.add(name, samples, accepted=True)
    unknowns.forget([unknown.row for unknown in right])
    return added
