"""Keys for encrypted delivery (CurveZMQ, ZeroMQ RFC 26): one for the gate, one for each worker.

A folder on the gate's host holds the gate's key (``gate.json``) and the public halves of its workers
(``workers/NAME.json``). A worker's own file holds its two halves and the gate's public one, and is all that is
copied to the worker's host. Removing a file from ``workers/`` revokes that worker from its next connection on.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec
import zmq

from facegate.errors import ConfigError, os_errors
from facegate.sinks.rate_limited_log import RateLimitedLog

GATE = "gate.json"
WORKERS = "workers"
MAX_KEY_BYTES = 4096
NEW_KEY = "create one with 'facegate keys new'"

_KEY = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_NAME = re.compile(r"[\w.-]{1,64}")


class KeyFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """Content of a key file; keys are Z85 text."""

    public: str
    secret: str = ""
    gate: str = ""
    """The gate's public half, in a worker's file."""


def load_key(path: Path, *, secret: bool, gate: bool = False) -> KeyFile:
    """Read a key file.

    Args:
        path: the file.
        secret: the secret half is required.
        gate: the gate's public half is required.

    Raises:
        ConfigError: the file is missing, or not a key of that kind.
    """
    try:
        with os_errors(ConfigError, f"cannot read key {path}", NEW_KEY):
            if path.stat().st_size > MAX_KEY_BYTES:
                raise ConfigError(f"{path} is not a key file: {NEW_KEY}")
            key = msgspec.json.decode(path.read_bytes(), type=KeyFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a key file: {NEW_KEY}") from error
    needed = [key.public] + ([key.secret] if secret else []) + ([key.gate] if gate else [])
    if not all(_KEY.fullmatch(part) for part in needed):
        raise ConfigError(f"{path} is not a key file, or lacks a half that is needed here: {NEW_KEY}")
    return key


def new_worker(folder: Path, name: str, target: Path) -> None:
    """Create a worker's key, and the gate's if there is none yet; write the worker's file to ``target``.

    Raises:
        ConfigError: the name is taken or not a valid file name, or a file cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"invalid worker name '{name}': use 1 to 64 letters, digits, '_', '.' or '-'")
    known = folder / WORKERS / f"{name}.json"
    if known.exists():
        raise ConfigError(f"worker '{name}' exists already: revoke it first, or choose another name")
    with os_errors(ConfigError, f"cannot create {known.parent}"):
        known.parent.mkdir(parents=True, exist_ok=True)
    if not (folder / GATE).exists():
        public, secret = (half.decode() for half in zmq.curve_keypair())
        _write(folder / GATE, KeyFile(public=public, secret=secret))
    try:
        gate = load_key(folder / GATE, secret=True)
    except ConfigError as error:
        raise ConfigError(
            f"the key of the gate is damaged ({str(error).partition(':')[0]}): restore {folder / GATE} from a "
            "backup; or delete it and the files of its workers, and create all keys again"
        ) from error
    public, secret = (half.decode() for half in zmq.curve_keypair())
    _write(target, KeyFile(public=public, secret=secret, gate=gate.public))
    try:
        _write(known, KeyFile(public=public))
    except ConfigError:
        target.unlink()  # a key that no gate knows
        raise


def workers(folder: Path) -> list[str]:
    """Names of the authorized workers."""
    return sorted(file.stem for file in (folder / WORKERS).glob("*.json"))


def revoke(folder: Path, name: str) -> None:
    """Revoke a worker's key, from its next connection on.

    Raises:
        ConfigError: there is no such worker.
    """
    try:
        (folder / WORKERS / f"{name}.json").unlink()
    except OSError as error:
        raise ConfigError(
            f"no worker '{name}' in {folder}; known workers: {', '.join(workers(folder)) or 'none'}"
        ) from error


def _write(path: Path, key: KeyFile) -> None:
    """Create a file that only its owner can read, whole or not at all; never overwrites."""
    with os_errors(ConfigError, f"cannot write {path}"):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(key) + b"\n")
        except OSError:
            path.unlink()
            raise


class CurveAuthenticator:
    """Admits known workers (a ZAP credentials provider) and logs others, once a minute each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._refusals = RateLimitedLog()

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether ``key`` (Z85) is a worker's; reads the folder at every call, so that revoking takes effect."""
        del domain
        text = key.decode("ascii", "replace")
        for name in workers(self._folder):
            try:
                if load_key(self._folder / WORKERS / f"{name}.json", secret=False).public == text:
                    return True
            except ConfigError as error:
                self._refusals.warn("worker", name, str(error))
        self._refusals.warn("worker", text, "unknown key")
        return False
