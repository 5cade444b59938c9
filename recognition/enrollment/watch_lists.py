"""Watch lists: named groups of enrolled people, with a color and a false-positive rate of their own."""

from __future__ import annotations

import re

import msgspec

from facegate.errors import GalleryError
from facegate.recognition.enrollment.gallery_store import GalleryStore

COLOR = re.compile(r"#[0-9a-fA-F]{6}")
MAX_NAME, MAX_REASON = 40, 500


class WatchList(msgspec.Struct, frozen=True):
    """A watch list."""

    name: str
    color: str
    """``#RRGGBB``."""
    fpir: float | None
    """Share of unknown visits that may get the name of somebody in the list, 0..1; as the worker's by default."""


class Membership(msgspec.Struct, frozen=True):
    """A person in a watch list."""

    list: str
    person: str
    reason: str
    expires: float | None
    """Unix time (UTC) from which the person is no longer in the list."""


class WatchListStore(GalleryStore):
    """Watch lists in a gallery's file."""

    def watch_lists(self) -> list[WatchList]:
        """All watch lists by name."""
        with self._errors():
            rows = self._db.execute("SELECT name, color, fpir FROM lists ORDER BY name").fetchall()
        return [WatchList(*row) for row in rows]

    def put_list(self, watch_list: WatchList) -> None:
        """Create or change a watch list.

        Raises:
            GalleryError: name, color or rate is invalid.
        """
        if not watch_list.name.strip() or len(watch_list.name) > MAX_NAME:
            raise GalleryError(f"invalid list name {watch_list.name!r}: give 1 to {MAX_NAME} characters")
        if COLOR.fullmatch(watch_list.color) is None:
            raise GalleryError(f"invalid color {watch_list.color!r}: give one such as #c00000")
        if watch_list.fpir is not None and not 0 < watch_list.fpir <= 0.5:
            raise GalleryError(f"invalid rate {watch_list.fpir:g}: give one above 0 and up to 0.5")
        with self._change():
            self._db.execute(
                "INSERT INTO lists (name, color, fpir) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET color = excluded.color, fpir = excluded.fpir",
                (watch_list.name.strip(), watch_list.color, watch_list.fpir),
            )

    def delete_list(self, name: str) -> None:
        """Delete a watch list; its people stay enrolled.

        Raises:
            GalleryError: it does not exist.
        """
        with self._change():
            self._db.execute("DELETE FROM lists WHERE id = ?", (self._list_id(name),))

    def members(self, now: float | None = None) -> list[Membership]:
        """The people in watch lists; with ``now`` (Unix time) without those who have expired."""
        with self._errors():
            rows = self._db.execute(
                "SELECT lists.name, people.name, reason, expires FROM list_members m "
                "JOIN lists ON lists.id = m.list JOIN people ON people.id = m.person "
                "WHERE ?1 IS NULL OR expires IS NULL OR expires > ?1 ORDER BY lists.name, people.name",
                (now,),
            ).fetchall()
        return [Membership(*row) for row in rows]

    def put_member(self, member: Membership) -> None:
        """Put a person into a watch list, or change the entry.

        Raises:
            GalleryError: list or person does not exist, or the reason is too long.
        """
        if len(member.reason) > MAX_REASON:
            raise GalleryError(f"the reason has {len(member.reason)} characters: give up to {MAX_REASON}")
        with self._change():
            self._db.execute(
                "INSERT OR REPLACE INTO list_members (list, person, reason, expires) VALUES (?, ?, ?, ?)",
                (self._list_id(member.list), self._id(member.person), member.reason, member.expires),
            )

    def delete_member(self, name: str, person: str) -> None:
        """Take a person out of a watch list.

        Raises:
            GalleryError: list or person does not exist, or the person is not in the list.
        """
        with self._change():
            gone = self._db.execute(
                "DELETE FROM list_members WHERE list = ? AND person = ?", (self._list_id(name), self._id(person))
            ).rowcount
            if not gone:
                raise GalleryError(f"{person} is not in list {name}: nothing was changed")

    def _list_id(self, name: str) -> int:
        row = self._db.execute("SELECT id FROM lists WHERE name = ?", (name.strip(),)).fetchone()
        if row is None:
            raise GalleryError(f"there is no list {name}: 'facegate lists set' creates one")
        return int(row[0])
