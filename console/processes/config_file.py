"""Edits the configuration file: keeps comments, detects concurrent edits."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from facegate.errors import ConfigError, FacegateError, os_errors
from facegate.paths import replacing
from facegate.pipeline.config import RunConfig, build_config
from facegate.pipeline.config.messages import yaml_problem

HEADER = "# facegate configuration, created by 'facegate serve'; can be edited. See docs/reference/settings.md\n"
MAX_BYTES = 4 * 2**20


class ConfigConflictError(FacegateError):
    """The file has changed since the version that the change is for."""


class ConfigVersion(msgspec.Struct, frozen=True):
    """A version of the file."""

    tag: str
    """Hash of the content."""
    config: RunConfig | None
    """``None`` if it has no camera."""
    problem: str | None
    """Why it is invalid; ``None`` if it is valid."""
    text: str
    """Content of the file."""
    content: dict[str, Any]
    """Content as plain data, secrets as ``${NAME}``; without cameras if it is not valid YAML."""


class ConfigFile:
    """The configuration file; thread-safe."""

    def __init__(self, path: Path) -> None:
        """Open the file; a missing file is created without cameras.

        Raises:
            ConfigError: it cannot be read or created.
        """
        self.path = path
        self._lock = Lock()
        self._before: str | None = None
        self._last: ConfigVersion | None = None
        if not path.exists():
            with os_errors(ConfigError, f"cannot write {path}"):
                path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(path, 0o600) as part:
                    part.write_text(HEADER + "cameras: []\n", encoding="utf-8")
        self._read()

    def version(self) -> ConfigVersion:
        """Current version; if it cannot be read, ``problem`` says why."""
        try:
            text = self._read()
        except ConfigError as error:
            return ConfigVersion("", None, str(error), "", {"cameras": []})
        known = self._last
        if known is None or known.text != text:  # parsing is slow
            known = self._last = _version(text, self.path)
        return known

    def change(self, edit: Callable[[CommentedMap], None], expected: str | None = None) -> ConfigVersion:
        """Edit the current file atomically.

        Args:
            edit: changes the data in place.
            expected: ``tag`` of the version to change; ``None`` for any.

        Raises:
            ConfigConflictError: the file has another version.
            ConfigError: the result is invalid, or cannot be written.
        """
        with self._lock:
            text = self._read()
            if expected is not None and expected != _tag(text):
                raise ConfigConflictError(f"{self.path.name} has changed since it was read; reload it and retry")
            data = _parse(text, self.path)
            edit(data)
            _checked(data, self.path)
            out = io.StringIO()
            _yaml().dump(data, out)
            self._replace(text, out.getvalue())
            self._before = text
            return _version(out.getvalue(), self.path)

    def undo(self) -> ConfigVersion:
        """Undo the last :meth:`change`.

        Raises:
            ConfigError: there is nothing to undo.
        """
        with self._lock:
            before = self._before
            if before is None:
                raise ConfigError("nothing to undo")
            self._replace(self._read(), before)
            self._before = None
            return _version(before, self.path)

    def _read(self) -> str:
        with os_errors(ConfigError, f"cannot read {self.path}"):
            if self.path.stat().st_size > MAX_BYTES:
                raise ConfigError(f"{self.path} exceeds {MAX_BYTES // 2**20} MiB: give a configuration file")
            return self.path.read_text(encoding="utf-8")

    def _replace(self, before: str, after: str) -> None:
        with os_errors(ConfigError, f"cannot write {self.path}"):
            mode = self.path.stat().st_mode & 0o777
            with replacing(self.path, mode) as part, part.open("w", encoding="utf-8") as file:
                file.write(after)
                file.flush()
                os.fsync(file.fileno())
                if self._read() != before:
                    raise ConfigConflictError(f"{self.path.name} was edited by hand at the same time; retry")


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _parse(text: str, path: Path) -> CommentedMap:
    try:
        data = _yaml().load(text)
    except YAMLError as error:
        raise yaml_problem(path, error) from error
    if not isinstance(data, CommentedMap):
        raise ConfigError(f"{path}: expected keys such as 'cameras:'")
    if data.get("cameras") is None:
        data["cameras"] = CommentedSeq()
    return data


def _version(text: str, path: Path) -> ConfigVersion:
    content: dict[str, Any] = {"cameras": []}
    try:
        data = _parse(text, path)
        content = to_plain(data)
        return ConfigVersion(_tag(text), _checked(data, path), None, text, content)
    except ConfigError as error:
        return ConfigVersion(_tag(text), None, str(error), text, content)


def _checked(data: CommentedMap, path: Path) -> RunConfig | None:
    content = to_plain(data)
    if not content.get("cameras"):
        rest = {key: value for key, value in content.items() if key != "cameras"}
        build_config(rest | {"cameras": [{"name": "nobody", "source": "rtsp://nowhere"}]}, path.name)
        return None
    return build_config(content, path.name)


def to_plain(value: Any) -> Any:
    """Convert values of the YAML library, which keep their formatting, to plain values."""
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_plain(item) for item in value]
    for kind in (bool, int, float, str):  # subclasses of the YAML library
        if isinstance(value, kind):
            return kind(value)
    return value


def _tag(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
