"""People, their pictures and embeddings in one SQLite file, ``people.db``.

Pictures are stored as aligned crops (lossless), from which another model computes its own embeddings. Every change
is one transaction: a crash leaves all pictures of an ``add`` or none. Several processes may read and write;
:meth:`GalleryStore.changed` tells readers of changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import time

import msgspec
import numpy as np

from facegate.errors import GalleryError
from facegate.pipeline.records import Floats, Image
from facegate.recognition.enrollment.names import name_key, person_name
from facegate.recognition.enrollment.records import Embedded, FaceSample, Kind, LegalBasis, Person, Picture
from facegate.recognition.enrollment.schema import GalleryFile, decode_crop, encode_crop

_COLUMNS = "pictures.id, name, kind, source, digest, quality, width, turn, faces, accepted, pose"


class GalleryStore(GalleryFile):
    """People and their pictures. For one thread."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open ``path``; see :class:`GalleryFile`."""
        super().__init__(path, create=create)
        self._seen = self._revision()

    def changed(self) -> bool:
        """Whether people or pictures have changed since the last call."""
        before, self._seen = self._seen, self._revision()
        return self._seen != before

    def people(self) -> list[Person]:
        """All people, sorted by name."""
        with self._errors():
            rows = self._db.execute(
                "SELECT name, count(*) FILTER (WHERE kind = 'enrolled'), "
                "count(*) FILTER (WHERE kind = 'negative'), people.added "
                "FROM people LEFT JOIN pictures ON person = people.id GROUP BY people.id ORDER BY name"
            ).fetchall()
        return [Person(*row) for row in rows]

    def pictures(self, name: str | None = None) -> list[Picture]:
        """Pictures of a person or of all, sorted by name and order of adding.

        Raises:
            GalleryError: no such person.
        """
        where = "" if name is None else f"WHERE person = {self._id(name)}"
        with self._errors():
            rows = self._db.execute(
                f"SELECT {_COLUMNS} FROM pictures JOIN people ON person = people.id {where} "
                "ORDER BY name, pictures.id"
            ).fetchall()
        fields = Picture.__struct_fields__
        return msgspec.convert([dict(zip(fields, row, strict=True)) for row in rows], list[Picture], strict=False)

    def crop(self, row: int) -> Image:
        """The aligned crop of a picture, ``(112, 112, 3)`` uint8 RGB.

        Raises:
            GalleryError: the picture was removed, or is damaged.
        """
        with self._errors():
            found = self._db.execute("SELECT crop FROM pictures WHERE id = ?", (row,)).fetchone()
        if found is None:
            raise GalleryError("a picture was removed from the gallery meanwhile: try again")
        return decode_crop(found[0], self._path)

    def spelling(self, name: str) -> str:
        """The gallery's spelling of a name; normalized if no person has it.

        Where nobody is called ``Bill_Gates``, the name of a folder, it is Bill Gates.

        Raises:
            GalleryError: the name is invalid.
        """
        found = self._find(name)
        return person_name(name) if found is None else found[1]

    def add(
        self, name: str, samples: Sequence[FaceSample], *, kind: Kind = "enrolled", accepted: bool = False
    ) -> int:
        """Add pictures to a person, created if missing, in one transaction; return how many were new.

        Raises:
            GalleryError: the name is invalid.
        """
        name = person_name(name)
        new, now = 0, time()
        with self._change():
            self._db.execute(
                "INSERT OR IGNORE INTO people (name, key, added) VALUES (?, ?, ?)", (name, name_key(name), now)
            )
            person = self._id(name)
            for sample in samples:
                new += self._db.execute(
                    "INSERT OR IGNORE INTO pictures (person, kind, source, digest, crop, quality, width, turn, "
                    "faces, accepted, added, pose) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        *(person, kind, sample.source, sample.digest, encode_crop(sample.crop)),
                        *(sample.quality, sample.width, sample.yaw_ratio, sample.faces, accepted, now, sample.pose),
                    ),
                ).rowcount
        return new

    def remove(self, name: str) -> int:
        """Remove a person with all pictures; return how many there were.

        Raises:
            GalleryError: no such person.
        """
        with self._change():
            person = self._id(name)
            count = self._db.execute("SELECT count(*) FROM pictures WHERE person = ?", (person,)).fetchone()[0]
            self._db.execute("DELETE FROM people WHERE id = ?", (person,))
        with self._errors():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # nothing may remain in the write-ahead log
        return int(count)

    def remove_pictures(self, rows: Sequence[int]) -> None:
        """Remove single pictures; a person may be left with none."""
        with self._change():
            self._db.executemany("DELETE FROM pictures WHERE id = ?", [(row,) for row in rows])

    def accept(self, rows: Sequence[int]) -> None:
        """Mark pictures as accepted despite faults."""
        with self._transaction():
            self._db.executemany("UPDATE pictures SET accepted = 1 WHERE id = ?", [(row,) for row in rows])

    def use(self, unused: Sequence[int]) -> None:
        """Exclude these pictures from templates, and include all others."""
        with self._change():
            self._db.execute("UPDATE pictures SET used = 1 WHERE NOT used")
            self._db.executemany("UPDATE pictures SET used = 0 WHERE id = ?", [(row,) for row in unused])

    def rename(self, name: str, new: str) -> None:
        """Rename a person.

        Raises:
            GalleryError: no such person, or the new name is taken or invalid.
        """
        new = person_name(new)
        with self._change():
            person, key = self._id(name), name_key(new)
            if self._db.execute("SELECT 1 FROM people WHERE key = ? AND id != ?", (key, person)).fetchone():
                raise GalleryError(f"the name {new} is taken: use 'facegate gallery merge' to join the two")
            self._db.execute("UPDATE people SET name = ?, key = ? WHERE id = ?", (new, key, person))

    def merge(self, name: str, into: str) -> int:
        """Move a person's pictures to another person and remove the first; return how many were new to the other.

        Raises:
            GalleryError: one is missing, or both are the same.
        """
        with self._change():
            source, target = self._id(name), self._id(into)
            if source == target:
                raise GalleryError(f"cannot merge {name} with itself: give two different people")
            moved = self._db.execute(
                "UPDATE OR IGNORE pictures SET person = ? WHERE person = ?", (target, source)
            ).rowcount
            self._db.execute("UPDATE OR IGNORE list_members SET person = ? WHERE person = ?", (target, source))
            for column in ("person", "before"):
                self._db.execute(f"UPDATE corrections SET {column} = ? WHERE {column} = ?", (target, source))
            self._db.execute("DELETE FROM people WHERE id = ?", (source,))
        return moved

    def legal_bases(self) -> list[LegalBasis]:
        """Why people may be recognized, sorted by name."""
        with self._errors():
            rows = self._db.execute("SELECT name, basis, basis_since, basis_until FROM people ORDER BY name")
            return [LegalBasis(*row) for row in rows.fetchall()]

    def set_legal_basis(self, given: LegalBasis) -> None:
        """Record why a person may be recognized.

        Raises:
            GalleryError: no such person, or the period ends before it begins.
        """
        if given.since is not None and given.until is not None and given.until <= given.since:
            raise GalleryError(f"the period of {given.person} ends before it begins: correct the dates")
        with self._change():
            self._db.execute(
                "UPDATE people SET basis = ?, basis_since = ?, basis_until = ? WHERE id = ?",
                (given.basis.strip(), given.since, given.until, self._id(given.person)),
            )

    def embeddings_of(self, name: str) -> list[tuple[int, str, Floats]]:
        """Embeddings of a person's pictures: row of the picture, version of the recognizer, ``(D,)``.

        Raises:
            GalleryError: no such person.
        """
        person = self._id(name)
        with self._errors():
            rows = self._db.execute(
                "SELECT picture, version, vector FROM embeddings JOIN pictures ON pictures.id = picture "
                "WHERE person = ? ORDER BY picture, version",
                (person,),
            ).fetchall()
        return [(row, version, np.frombuffer(vector, "<f4")) for row, version, vector in rows]

    def corrections(self) -> dict[str, str | None]:
        """Who corrected visits were, by visit: a name, or ``None`` for somebody unknown."""
        with self._errors():
            return dict(
                self._db.execute(
                    "SELECT visit, name FROM corrections LEFT JOIN people ON people.id = person "
                    "ORDER BY corrections.id"
                ).fetchall()
            )

    def unusable(self) -> dict[str, str]:
        """Reasons why files cannot be enrolled, by digest."""
        with self._errors():
            return dict(self._db.execute("SELECT digest, reason FROM unusable").fetchall())

    def keep_unusable(self, reasons: Mapping[str, str]) -> None:
        """Replace the reasons why files cannot be enrolled, by digest."""
        with self._transaction():
            self._db.execute("DELETE FROM unusable")
            self._db.executemany("INSERT INTO unusable VALUES (?, ?)", list(reasons.items()))

    def missing(self, version: str) -> list[int]:
        """Rows of pictures without an embedding of this version."""
        with self._errors():
            rows = self._db.execute(
                "SELECT id FROM pictures WHERE id NOT IN (SELECT picture FROM embeddings WHERE version = ?) "
                "ORDER BY id",
                (version,),
            ).fetchall()
        return [row[0] for row in rows]

    def keep_embeddings(self, version: str, embeddings: Mapping[int, Floats]) -> None:
        """Store unit embeddings ``(D,)`` by row; those of removed pictures are ignored."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO embeddings (picture, version, vector) "
                "SELECT id, ?, ? FROM pictures WHERE id = ?",
                [(version, np.asarray(vector, "<f4").tobytes(), row) for row, vector in embeddings.items()],
            )

    def embedded(self, version: str) -> Embedded:
        """All pictures with an embedding of one version.

        Raises:
            GalleryError: the file is damaged: embeddings differ in length or are not finite.
        """
        with self._errors():
            names = self._db.execute("SELECT id, name FROM people ORDER BY name").fetchall()
            rows = self._db.execute(
                "SELECT picture, person, kind = 'negative', quality, used, vector FROM embeddings "
                "JOIN pictures ON pictures.id = picture WHERE version = ? ORDER BY picture",
                (version,),
            ).fetchall()
        place = {person: index for index, (person, _) in enumerate(names)}
        length = len(rows[0][-1]) if rows else 0
        if length % 4 or any(len(row[-1]) != length or row[1] not in place for row in rows):
            raise GalleryError(f"gallery {self._path} is damaged: its embeddings differ in length")
        vectors: Floats = np.frombuffer(b"".join(row[-1] for row in rows), "<f4").reshape(len(rows), length // 4)
        if not np.isfinite(vectors).all():
            raise GalleryError(f"gallery {self._path} is damaged: an embedding is not finite")
        return Embedded(
            names=[name for _, name in names],
            rows=np.array([row[0] for row in rows], np.int64),
            people=np.array([place[row[1]] for row in rows], np.int64),
            negative=np.array([row[2] for row in rows], bool),
            quality=np.array([row[3] for row in rows], np.int64),
            used=np.array([row[4] for row in rows], bool),
            vectors=vectors.astype(np.float32, copy=False),
        )

    def _id(self, name: str) -> int:
        found = self._find(name)
        if found is None:
            raise GalleryError(f"no person '{name}' in {self._path}: see 'facegate gallery list'")
        return found[0]

    def _find(self, name: str) -> tuple[int, str] | None:
        """Id and name of a person; the exact spelling before that of a folder."""
        with self._errors():
            for key in dict.fromkeys((name_key(name), name_key(name.replace("_", " ")))):
                found = self._db.execute("SELECT id, name FROM people WHERE key = ?", (key,)).fetchone()
                if found is not None:
                    return int(found[0]), str(found[1])
        return None

    def _revision(self) -> int:
        with self._errors():
            return int(self._db.execute("SELECT number FROM revision").fetchone()[0])

    @contextmanager
    def _change(self) -> Iterator[None]:
        """A transaction that increments the revision, so that readers notice it."""
        with self._transaction():
            yield
            self._db.execute("UPDATE revision SET number = number + 1")
