"""The configuration file as the console changes it: comments stay, hands that write meanwhile are noticed."""

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

from facegate.errors import ConfigError, FacegateError
from facegate.pipeline.config import RunConfig, build_config

HEADER = (
    "# facegate's configuration: written by 'facegate serve', and yours to change. docs/cameras.md, docs/gate.md\n"
)
MAX_BYTES = 4 * 2**20


class ChangedMeanwhileError(FacegateError):
    """The file is not any more what the change was made for."""


class ConfigVersion(msgspec.Struct, frozen=True):
    """What the file says at a moment."""

    tag: str
    """Differs whenever the content does."""
    config: RunConfig | None
    """``None`` while no camera is in it."""
    problem: str | None
    """Why it cannot be used as it is."""
    text: str
    """As it is written."""
    content: dict[str, Any]
    """The same as plain data, secrets as ``${NAME}``; with no camera where it is no YAML."""


class ConfigFile:
    """One file; of any thread."""

    def __init__(self, path: Path) -> None:
        """Take the file; one that is missing is made, with no camera in it.

        Raises:
            ConfigError: it cannot be read or made.
        """
        self.path = path
        self._lock = Lock()
        self._before: str | None = None
        self._last: ConfigVersion | None = None
        if not path.exists():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(HEADER + "cameras: []\n", encoding="utf-8")
                path.chmod(0o600)
            except OSError as error:
                raise ConfigError(f"cannot write {path}: {(error.strerror or 'error').lower()}") from error
        self._read()

    def version(self) -> ConfigVersion:
        """What the file says now; where it cannot be read, why."""
        try:
            text = self._read()
        except ConfigError as error:
            return ConfigVersion("", None, str(error), "", {"cameras": []})
        known = self._last
        if known is None or known.text != text:  # parsing takes longer than anything else that is asked of the file
            known = self._last = _version(text, self.path)
        return known

    def change(self, edit: Callable[[CommentedMap], None], expected: str | None = None) -> ConfigVersion:
        """Change the file as it is now: all of the change, or nothing.

        Args:
            edit: changes the data in place.
            expected: the ``tag`` of the version that the change was made for.

        Raises:
            ChangedMeanwhileError: it is of another version by now.
            ConfigError: the outcome would not be valid, or cannot be written.
        """
        with self._lock:
            text = self._read()
            if expected is not None and expected != _tag(text):
                raise ChangedMeanwhileError(
                    f"{self.path.name} was changed meanwhile: look at it again, then change it"
                )
            data = _parse(text, self.path)
            edit(data)
            _checked(data, self.path)
            out = io.StringIO()
            _yaml().dump(data, out)
            self._replace(text, out.getvalue())
            self._before = text
            return _version(out.getvalue(), self.path)

    def undo(self) -> ConfigVersion:
        """Take back the last change that was made here, if the file is still as that left it.

        Raises:
            ConfigError: there is none.
        """
        with self._lock:
            before = self._before
            if before is None:
                raise ConfigError("there is nothing to take back")
            self._replace(self._read(), before)
            self._before = None
            return _version(before, self.path)

    def _read(self) -> str:
        try:
            if self.path.stat().st_size > MAX_BYTES:
                raise ConfigError(f"{self.path} is too large to be a configuration")
            return self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = (getattr(error, "strerror", None) or "not text").lower()
            raise ConfigError(f"cannot read {self.path}: {reason}") from error

    def _replace(self, before: str, after: str) -> None:
        part = self.path.with_name(self.path.name + ".part")
        try:
            with os.fdopen(
                os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
            ) as file:
                file.write(after)
                file.flush()
                os.fsync(file.fileno())
            part.chmod(self.path.stat().st_mode & 0o777)
            if self._read() != before:
                raise ChangedMeanwhileError(f"{self.path.name} was changed by hand just now: try again")
            part.replace(self.path)
        except OSError as error:
            raise ConfigError(f"cannot write {self.path}: {(error.strerror or 'error').lower()}") from error
        finally:
            part.unlink(missing_ok=True)


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
        mark = getattr(error, "problem_mark", None)
        line = f" near line {mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{path} is not valid YAML{line}: {getattr(error, 'problem', None) or 'not text'}"
        ) from error
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
    """Without what the YAML library remembers of how a value was written."""
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_plain(item) for item in value]
    for kind in (bool, int, float, str):  # the library's own kinds of them remember how they were written
        if isinstance(value, kind):
            return kind(value)
    return value


def _tag(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
