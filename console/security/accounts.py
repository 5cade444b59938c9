"""Users, sessions and API tokens in one SQLite file; secrets are stored as hashes."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Literal

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from facegate.database import Database
from facegate.errors import ConfigError, os_errors

Role = Literal["viewer", "administrator"]
MIN_PASSWORD, MAX_PASSWORD = 10, 200
"""Length of a password in characters."""
IDLE_TIMEOUT_S, MAX_SESSION_S = 12 * 3600.0, 7 * 86_400.0
"""A session ends this long after its last request, and this long after the login."""
TOKEN = "fgt_"
LOGIN_REQUIRED = "login-required"
"""File beside the accounts, made with the first user: without users, access stays locked while it exists."""

_FIRST = """
CREATE TABLE users (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE sessions (
    key TEXT PRIMARY KEY,
    user TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
    began REAL NOT NULL,
    used REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    made REAL NOT NULL
) STRICT
"""

_CAMERAS = "ALTER TABLE users ADD COLUMN cameras TEXT NOT NULL DEFAULT 'null'"
"""JSON; ``null`` for all cameras."""


class Principal(msgspec.Struct, frozen=True):
    """An authenticated user or token."""

    name: str
    role: Role
    cameras: tuple[str, ...] | None = None
    """Cameras that a viewer may see; ``None`` for everything."""

    @property
    def may_change(self) -> bool:
        """Whether the role may change anything."""
        return self.role == "administrator"

    def may_see(self, camera: str) -> bool:
        """Whether a camera and its visits may be seen."""
        return self.cameras is None or camera in self.cameras


class User(msgspec.Struct, frozen=True):
    """A user without the password."""

    name: str
    role: Role
    cameras: tuple[str, ...] | None
    """See :class:`Principal`."""


class ApiToken(msgspec.Struct, frozen=True):
    """A token without its secret."""

    id: int
    name: str
    role: Role
    created: float
    """Unix time (UTC)."""


class Accounts(Database):
    """One connection, for any thread."""

    what = "file of accounts"
    remedy = "'facegate serve --set-password NAME' creates one"
    application = 0x66674143
    steps = (_FIRST, _CAMERAS)
    pragmas = ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON")
    failure = ConfigError

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """See :class:`Database`."""
        super().__init__(path, create=create)
        self._write_lock = Lock()
        self._marker = path.with_name(LOGIN_REQUIRED)
        self._hasher = PasswordHasher()  # Argon2id, RFC 9106's second recommendation
        self._nobody = self._hasher.hash(secrets.token_urlsafe())

    def auth_required(self) -> bool:
        """Whether a login is required: as soon as a user exists, also after the users were lost with the file."""
        return self.has_users() or self._marker.exists()

    def has_users(self) -> bool:
        """Whether anyone can log in."""
        with self._write_lock, self._errors():
            found = bool(self._db.execute("SELECT 1 FROM users LIMIT 1").fetchone())
        if found and not self._marker.exists():
            with os_errors(ConfigError, f"cannot write {self._marker}"):
                self._marker.touch(mode=0o600)
        return found

    def set_password(self, name: str, password: str, role: Role) -> None:
        """Create a user, or change password and role; ends the user's sessions.

        Raises:
            ConfigError: the name or the password is too short or too long.
        """
        if not 1 <= len(name) <= 64 or not name.isprintable():
            raise ConfigError(f"{name[:80]!r} is not a valid user name: use 1 to 64 printable characters")
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise ConfigError(
                f"the password has {len(password)} characters: use {MIN_PASSWORD} to {MAX_PASSWORD} characters"
            )
        hashed = self._hasher.hash(password)
        with self._write_lock, self._transaction():
            self._db.execute("DELETE FROM sessions WHERE user = ?", (name,))
            self._db.execute(
                "INSERT INTO users (name, role, hash) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                "role = excluded.role, hash = excluded.hash",
                (name, role, hashed),
            )
        self.has_users()

    def users(self) -> list[User]:
        """All users, sorted by name."""
        with self._write_lock, self._errors():
            rows = self._db.execute("SELECT name, role, cameras FROM users ORDER BY name").fetchall()
        return [User(name, role, _cameras(cameras)) for name, role, cameras in rows]

    def change_user(self, name: str, role: Role, cameras: Sequence[str] | None) -> bool:
        """Change what a user may do and see; return whether the user exists.

        Args:
            name: the user.
            role: an administrator sees all cameras.
            cameras: cameras that a viewer may see; ``None`` for everything.

        Raises:
            ConfigError: there would be no administrator.
        """
        seen = None if role == "administrator" or cameras is None else sorted(set(cameras))
        with self._write_lock, self._transaction():
            if role != "administrator":
                self._check_others(name)
            changed = self._db.execute(
                "UPDATE users SET role = ?, cameras = ? WHERE name = ?",
                (role, msgspec.json.encode(seen).decode(), name),
            )
            return changed.rowcount > 0

    def remove_user(self, name: str) -> bool:
        """Remove a user and end the user's sessions; return whether the user existed.

        Raises:
            ConfigError: there would be no administrator.
        """
        with self._write_lock, self._transaction():
            self._check_others(name)
            return self._db.execute("DELETE FROM users WHERE name = ?", (name,)).rowcount > 0

    def has_password(self, name: str, password: str) -> bool:
        """Whether a user has this password."""
        with self._write_lock, self._errors():
            row = self._db.execute("SELECT hash FROM users WHERE name = ?", (name,)).fetchone()
        try:
            # An unknown user takes the same time.
            self._hasher.verify(row[0] if row else self._nobody, password[:MAX_PASSWORD])
        except (VerificationError, InvalidHashError):
            return False
        return row is not None

    def _check_others(self, name: str) -> None:
        role = self._db.execute("SELECT role FROM users WHERE name = ?", (name,)).fetchone()
        others = "SELECT 1 FROM users WHERE role = 'administrator' AND name != ?"
        if role == ("administrator",) and self._db.execute(others, (name,)).fetchone() is None:
            raise ConfigError(f"{name} is the only administrator: make another user an administrator first")

    def log_in(self, name: str, password: str, now: float) -> str | None:
        """Start a session; return its key, or ``None`` if name or password is wrong."""
        if not self.has_password(name, password):
            return None
        key = secrets.token_urlsafe(32)
        with self._write_lock, self._transaction():
            self._db.execute(
                "DELETE FROM sessions WHERE used < ? OR began < ?", (now - IDLE_TIMEOUT_S, now - MAX_SESSION_S)
            )
            self._db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", (_kept(key), name, now, now))
        return key

    def session_principal(self, key: str, now: float) -> Principal | None:
        """User of a session; ``None`` if it has ended."""
        kept = _kept(key)
        with self._write_lock, self._errors():
            row = self._db.execute(
                "SELECT name, role, used, cameras FROM sessions JOIN users ON name = user "
                "WHERE key = ? AND used >= ? AND began >= ?",
                (kept, now - IDLE_TIMEOUT_S, now - MAX_SESSION_S),
            ).fetchone()
            if row is not None and now - row[2] > 60:
                self._db.execute("UPDATE sessions SET used = ? WHERE key = ?", (now, kept))
        return None if row is None else Principal(row[0], row[1], _cameras(row[3]))

    def log_out(self, key: str) -> None:
        """End a session."""
        with self._write_lock, self._transaction():
            self._db.execute("DELETE FROM sessions WHERE key = ?", (_kept(key),))

    def create_token(self, name: str, role: Role, now: float) -> tuple[ApiToken, str]:
        """Create a token; return it and its secret, which is not stored."""
        secret = TOKEN + secrets.token_urlsafe(32)
        with self._write_lock, self._transaction():
            row = self._db.execute(
                "INSERT INTO tokens (key, name, role, made) VALUES (?, ?, ?, ?) RETURNING id",
                (_kept(secret), name, role, now),
            ).fetchone()
        return ApiToken(row[0], name, role, now), secret

    def tokens(self) -> list[ApiToken]:
        """All tokens, oldest first."""
        with self._write_lock, self._errors():
            return [
                ApiToken(*row) for row in self._db.execute("SELECT id, name, role, made FROM tokens ORDER BY id")
            ]

    def revoke_token(self, token: int) -> bool:
        """Revoke a token; return whether it existed."""
        with self._write_lock, self._transaction():
            return self._db.execute("DELETE FROM tokens WHERE id = ?", (token,)).rowcount > 0

    def token_principal(self, secret: str) -> Principal | None:
        """Principal of a token; ``None`` if it is unknown."""
        with self._write_lock, self._errors():
            row = self._db.execute("SELECT name, role FROM tokens WHERE key = ?", (_kept(secret),)).fetchone()
        return None if row is None else Principal(f"token {row[0]}", row[1])


def _cameras(text: str) -> tuple[str, ...] | None:
    return msgspec.json.decode(text, type=tuple[str, ...] | None)


def _kept(secret: str) -> str:
    """Hash of a random secret; 256 bits of entropy need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()
