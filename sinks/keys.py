"""Keys for encrypted delivery (CurveZMQ, ZeroMQ RFC 26): one for the gate, one for each worker.

A folder on the gate's host holds the gate's key (``gate.json``) and the public halves of its workers
(``workers/NAME.json``). A worker's own file holds its two halves and the gate's public one, and is all that is
carried to the worker's host. Taking a file out of ``workers/`` shuts that worker out at its next connection.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec
import zmq

from facegate.errors import ConfigError
from facegate.sinks.rate_limited_log import RateLimitedLog

GATE = "gate.json"
WORKERS = "workers"
MAX_KEY_BYTES = 4096

_KEY = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_NAME = re.compile(r"[\w.-]{1,64}")


class KeyFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key as it is kept; Z85 text."""

    public: str
    secret: str = ""
    gate: str = ""
    """The gate's public half, in a worker's file."""


def load_key(path: Path, *, secret: bool, gate: bool = False) -> KeyFile:
    """Read a key file.

    Args:
        path: the file.
        secret: it must hold the secret half.
        gate: it must hold the gate's public half.

    Raises:
        ConfigError: missing, or not such a key.
    """
    try:
        if path.stat().st_size > MAX_KEY_BYTES:
            raise ConfigError(f"{path} is no key of 'facegate keys'")
        key = msgspec.json.decode(path.read_bytes(), type=KeyFile)
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        raise ConfigError(f"cannot read key {path}: {reason}; make one with 'facegate keys new'") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no key of 'facegate keys'") from error
    needed = [key.public] + ([key.secret] if secret else []) + ([key.gate] if gate else [])
    if not all(_KEY.fullmatch(part) for part in needed):
        raise ConfigError(f"{path} is no key of 'facegate keys', or not the right half of one")
    return key


def new_worker(folder: Path, name: str, target: Path) -> None:
    """Make a worker's key, and the gate's where there is none yet; write the worker's file to ``target``.

    Raises:
        ConfigError: the name is taken or cannot be a file's, or a file cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"'{name}': a worker's name is 1 to 64 letters, digits, '_', '.', '-'")
    known = folder / WORKERS / f"{name}.json"
    if known.exists():
        raise ConfigError(f"there is a worker '{name}' already: revoke it first, or take another name")
    try:
        known.parent.mkdir(parents=True, exist_ok=True)
        if not (folder / GATE).exists():
            public, secret = (half.decode() for half in zmq.curve_keypair())
            _write(folder / GATE, KeyFile(public=public, secret=secret))
        gate = load_key(folder / GATE, secret=True)
        public, secret = (half.decode() for half in zmq.curve_keypair())
        _write(target, KeyFile(public=public, secret=secret, gate=gate.public))
        _write(known, KeyFile(public=public))
    except OSError as error:
        raise ConfigError(
            f"cannot write {error.filename}: {(error.strerror or 'unknown error').lower()}"
        ) from error


def workers(folder: Path) -> list[str]:
    """Names of the workers that are let in."""
    return sorted(file.stem for file in (folder / WORKERS).glob("*.json"))


def revoke(folder: Path, name: str) -> None:
    """Shut a worker out from its next connection on.

    Raises:
        ConfigError: there is no such worker.
    """
    try:
        (folder / WORKERS / f"{name}.json").unlink()
    except OSError as error:
        raise ConfigError(
            f"no worker '{name}' in {folder}: known are {', '.join(workers(folder)) or 'none'}"
        ) from error


def _write(path: Path, key: KeyFile) -> None:
    """Create a file that only its owner can read; never over another."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(key) + b"\n")


class CurveAuthenticator:
    """Lets known workers in (a ZAP credentials provider) and tells of others, once a minute each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._refusals = RateLimitedLog()

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether ``key`` (Z85) is a worker's; the folder is read anew, so that a revoked one is out."""
        del domain
        text = key.decode("ascii", "replace")
        for name in workers(self._folder):
            try:
                if load_key(self._folder / WORKERS / f"{name}.json", secret=False).public == text:
                    return True
            except ConfigError as error:
                self._refusals.warn("worker refused", name, str(error))
        self._refusals.warn("worker refused", text, "its key is not known")
        return False
