"""Rules, receivers and what waits for them, on disk: a restart loses nothing and tells nothing twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import msgspec

from facegate.console.notifications.rules import Event, Rule
from facegate.database import Database
from facegate.errors import StoreError
from facegate.recognition.enrollment.names import name_key
from facegate.recognition.enrollment.records import Erased
from facegate.recognition.enrollment.stored_visits import check_data, rename_stored

NOTIFICATIONS = "notifications.db"
"""File in the data folder of a console."""
REMEMBERED_S = 30 * 86_400.0
"""Time for which told events are remembered; visits are kept as long by default."""
_FIRST = """
CREATE TABLE rules (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    rule BLOB NOT NULL
) STRICT;
CREATE TABLE receivers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    address TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE told (
    rule INTEGER NOT NULL REFERENCES rules ON DELETE CASCADE,
    key TEXT NOT NULL,
    at REAL NOT NULL,
    sent INTEGER NOT NULL,
    PRIMARY KEY (rule, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX told_by_time ON told (rule, at);
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    receiver INTEGER NOT NULL REFERENCES receivers ON DELETE CASCADE,
    created REAL NOT NULL,
    event BLOB NOT NULL,
    picture INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_by_receiver ON outbox (receiver, id);
CREATE TABLE revision (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    number INTEGER NOT NULL
) STRICT
"""


class Receiver(msgspec.Struct, frozen=True):
    """Somebody who is notified."""

    id: int
    name: str
    kind: Literal["apprise", "push"]
    address: str
    """URL of Apprise, with its secrets; the JSON of a push subscription."""


class Message(msgspec.Struct, frozen=True):
    """A waiting message."""

    id: int
    created: float
    event: Event
    picture: bool


class Outbox(Database):
    """The notifications of a console, for any thread."""

    what = "file of notifications"
    remedy = "'facegate serve' creates one"
    application = 0x66674E4F
    steps = (_FIRST,)
    pragmas = ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON")
    failure = StoreError

    def _prepare(self) -> None:
        self._lock = Lock()
        super()._prepare()

    def rules(self) -> dict[int, Rule]:
        """Rules by id."""
        rows = self._read("SELECT id, rule FROM rules ORDER BY id")
        return {int(row): msgspec.json.decode(rule, type=Rule) for row, rule in rows}

    def save_rule(self, rule: Rule, row: int | None = None) -> int | None:
        """Add a rule, or replace one; return its id, or ``None`` if it does not exist."""
        packed = msgspec.json.encode(rule)
        with self._lock, self._transaction():
            found = (
                self._db.execute("INSERT INTO rules (rule) VALUES (?) RETURNING id", (packed,))
                if row is None
                else self._db.execute("UPDATE rules SET rule = ? WHERE id = ? RETURNING id", (packed, row))
            ).fetchone()
        return None if found is None else int(found[0])

    def delete_rule(self, row: int) -> bool:
        """Delete a rule; return whether it existed."""
        return self._delete("rules", row)

    def receivers(self) -> dict[int, Receiver]:
        """Receivers by id."""
        rows = self._read("SELECT id, name, kind, address FROM receivers ORDER BY id")
        return {int(row[0]): Receiver(*row) for row in rows}

    def add_receiver(self, name: str, kind: Literal["apprise", "push"], address: str) -> int:
        """Add a receiver, or rename the one with this address; return its id."""
        with self._lock, self._transaction():
            row = self._db.execute(
                "INSERT INTO receivers (name, kind, address) VALUES (?, ?, ?) "
                "ON CONFLICT (address) DO UPDATE SET name = excluded.name RETURNING id",
                (name, kind, address),
            ).fetchone()
        return int(row[0])

    def delete_receiver(self, row: int) -> bool:
        """Delete a receiver and what waits for it; return whether it existed."""
        return self._delete("receivers", row)

    def tell(self, rules: Mapping[int, Rule], events: Sequence[Event], wall: float) -> int:
        """Put the events that rules want into the outbox, unless they were told or come too often.

        Args:
            rules: rules by id.
            events: what happened, oldest first.
            wall: Unix time.

        Returns:
            Number of events that will be told, by each rule.
        """
        told = 0
        with self._lock, self._transaction():
            for row, rule in rules.items():
                recent = [at for (at,) in self._db.execute(
                    "SELECT at FROM told WHERE rule = ? AND at > ? AND sent", (row, wall - rule.period_s)
                )]  # fmt: skip
                for event in events:
                    if not rule.enabled or not rule.wants(event):
                        continue
                    sent = rule.allows(recent, wall)
                    if not self._db.execute(
                        "INSERT INTO told VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                        (row, _digest(event.key), wall, sent),
                    ).rowcount:
                        continue
                    if sent:
                        recent.append(wall)
                        told += 1
                        self._put(rule, event, wall)
                self._db.execute("DELETE FROM told WHERE rule = ? AND at < ?", (row, wall - REMEMBERED_S))
        return told

    def _put(self, rule: Rule, event: Event, wall: float) -> None:
        packed = msgspec.msgpack.encode(event)
        self._db.executemany(
            "INSERT INTO outbox (receiver, created, event, picture) SELECT id, ?, ?, ? FROM receivers WHERE id = ?",
            [(wall, packed, rule.picture, receiver) for receiver in rule.receivers],
        )

    def rename(self, name: str, new: str | None) -> int:
        """Rename a person in rules, or remove a name from rules and waiting messages; return how many had it."""
        key, count = name_key(name), 0
        for row, rule in self.rules().items():
            others = [each for each in rule.people if name_key(each) != key]
            if len(others) < len(rule.people):
                people = tuple(dict.fromkeys([*others, *(() if new is None else (new,))]))
                self.save_rule(msgspec.structs.replace(rule, people=people), row)
                count += 1
        if new is None:
            for row, packed in self._read("SELECT id, event FROM outbox"):
                told = msgspec.msgpack.decode(packed, type=Event).name
                count += told is not None and name_key(told) == key and self._delete("outbox", row)
        return count

    def forget_list(self, name: str) -> None:
        """Remove a watch list that was deleted from the rules."""
        for row, rule in self.rules().items():
            if name in rule.lists:
                lists = tuple(each for each in rule.lists if each != name)
                self.save_rule(msgspec.structs.replace(rule, lists=lists), row)

    def waiting(self) -> dict[int, int]:
        """Number of waiting messages by receiver."""
        return dict(self._read("SELECT receiver, count(*) FROM outbox GROUP BY receiver"))

    def next(self, receiver: int) -> Message | None:
        """Oldest message that waits for a receiver."""
        rows = self._read(
            "SELECT id, created, event, picture FROM outbox WHERE receiver = ? ORDER BY id LIMIT 1", (receiver,)
        )
        if not rows:
            return None
        row, created, event, picture = rows[0]
        return Message(row, created, msgspec.msgpack.decode(event, type=Event), bool(picture))

    def done(self, message: int) -> None:
        """Remove a message that was delivered or given up."""
        self._delete("outbox", message)

    def revision(self) -> int | None:
        """Revision of the store up to which visits were looked at."""
        rows = self._read("SELECT number FROM revision")
        return int(rows[0][0]) if rows else None

    def set_revision(self, number: int) -> None:
        """See :meth:`revision`."""
        with self._lock, self._transaction():
            self._db.execute("INSERT OR REPLACE INTO revision VALUES (1, ?)", (number,))

    def _delete(self, table: str, row: int) -> bool:
        with self._lock, self._transaction():
            return self._db.execute(f"DELETE FROM {table} WHERE id = ?", (row,)).rowcount > 0

    def _read(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        with self._lock, self._errors():
            return self._db.execute(sql, values).fetchall()


@contextmanager
def renaming(data: Path | None) -> Iterator[Callable[[str, str], None]]:
    """Yield what renames a person in the store, the pending events and the notifications of a data folder.

    Raises:
        GalleryError: this is no data folder.
        FacegateError: a file cannot be written.
    """
    check_data(data)

    def rename(name: str, new: str) -> None:
        rename_stored(data, name, new)
        _rename(data, name, new)

    yield rename


def erase_notified(data: Path | None, name: str) -> list[Erased]:
    """Erase a person from the notifications of a data folder, if there is one.

    Raises:
        StoreError: the file cannot be written.
    """
    return _rename(data, name, None)


def _rename(data: Path | None, name: str, new: str | None) -> list[Erased]:
    path = None if data is None else data / NOTIFICATIONS
    if path is None or not path.is_file():
        return []
    with Outbox(path) as outbox:
        return [Erased(str(path), outbox.rename(name, new), "rules and waiting messages")]


def _digest(key: str) -> str:
    """What is remembered of a told event: no names."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]
