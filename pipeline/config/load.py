"""Builds a configuration from a YAML file, plain data or a source; an error is one line that names the setting."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from facegate.errors import ConfigError, SourceError, os_errors
from facegate.paths import load_yaml
from facegate.pipeline.config.messages import problem, yaml_problem
from facegate.pipeline.config.run import RunConfig

UNRESOLVED = "unresolved"
"""Placeholder for a variable; as long as the shortest secret."""


def build_config(
    data: Any, where: str = "configuration", environment: Mapping[str, str] | None = os.environ
) -> RunConfig:
    """Validate plain data.

    Args:
        data: mappings, lists, texts, numbers.
        where: name of the source of ``data``, for messages.
        environment: values for ``${NAME}``; with ``None`` every variable is replaced by a placeholder that is valid
            in any text setting, but not as the port or the scheme of a URL, and not as a number.

    Raises:
        ConfigError: one line that names the setting, the problem and, for an unknown key, the nearest known one.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected keys such as 'cameras:' at the top level, got {_kind(data)}")
    try:
        return RunConfig.model_validate(_expand(data, where, environment))
    except ValidationError as error:
        raise ConfigError(f"{where}: {problem(error, RunConfig)}") from None


def read_yaml(path: Path) -> Any:
    """Read plain data from a YAML file.

    Raises:
        ConfigError: unreadable, or not YAML.
    """
    try:
        with os_errors(ConfigError, f"cannot read {path}"):
            return load_yaml(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise yaml_problem(path, error) from error


def load_config(path: Path) -> RunConfig:
    """Read and validate a YAML file.

    Raises:
        ConfigError: unreadable, not YAML, or not valid.
    """
    return build_config(read_yaml(path), str(path))


def config_for(source: str | Path | RunConfig) -> RunConfig:
    """Return the configuration that ``source`` names: a YAML file's, or one camera with default settings.

    Disabled cameras are left out.

    Raises:
        ConfigError: the configuration is not valid.
        SourceError: the video file does not exist (checked here, before models are loaded).
    """
    if isinstance(source, RunConfig):
        return source.watched()
    text = str(source)
    if not text.strip():
        raise ConfigError("the source is empty: give a stream URL, a file, or the number of a webcam")
    if "://" not in text and Path(text).suffix.lower() in (".yaml", ".yml"):
        return load_config(Path(text)).watched()
    if not text.isdecimal() and "://" not in text and not Path(text).exists():
        raise SourceError(f"no video file at {text}: check the path")
    stem = Path(text).stem if "://" not in text else "camera"
    name = re.sub(r"[^\w.-]", "_", stem)[:64] or "camera"
    camera = {"name": "webcam" + name if name.isdecimal() else name, "source": text}
    return build_config({"cameras": [camera]}, "command line")


def _expand(value: Any, where: str, environment: Mapping[str, str] | None, key: Any = None) -> Any:
    """Replace ``${NAME}`` in strings."""
    if isinstance(value, dict):
        return {key: _expand(item, where, environment, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, where, environment) for item in value]
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"{where}: {key or 'an entry'}: must be Unicode text without surrogates") from None
        if environment is None and key in ("source", "main_stream") and re.fullmatch(r"\$\{\w+\}", value):
            return f"rtsp://{UNRESOLVED}"
        return re.sub(r"\$\{(\w+)\}", lambda match: _variable(match.group(1), where, environment), value)
    return value


def _variable(name: str, where: str, environment: Mapping[str, str] | None) -> str:
    if environment is None:
        return UNRESOLVED
    if name not in environment:
        raise ConfigError(
            f"{where}: environment variable {name} is not set: set it, or write its value in its place"
        )
    return environment[name]


def _kind(data: Any) -> str:
    if data is None:
        return "nothing"
    return "a list" if isinstance(data, list) else "text" if isinstance(data, str) else "a single value"
