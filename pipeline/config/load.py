"""From a file, plain data or a source to a configuration; every refusal is one line with the nearest known key."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from facegate.errors import ConfigError, SourceError
from facegate.pipeline.addresses import redact
from facegate.pipeline.config.run import RunConfig


def build_config(
    data: Any, where: str = "configuration", environment: Mapping[str, str] | None = os.environ
) -> RunConfig:
    """Validate plain data.

    Args:
        data: mappings, lists, texts, numbers.
        where: it came from, for messages.
        environment: what ``${NAME}`` stands for; with ``None`` it stands, unseen, for a text that fits everywhere.

    Raises:
        ConfigError: one line that names the place, the problem and, for an unknown key, the nearest known one.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected keys such as 'cameras:', got {type(data).__name__}")
    try:
        return RunConfig.model_validate(_expand(data, where, environment))
    except ValidationError as error:
        # A misspelt key is also a missing one; the spelling is the better hint.
        first = min(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
        raise ConfigError(" ".join(f"{where}: {_explain(first)}".split())) from None


def load_config(path: Path) -> RunConfig:
    """Read and validate a YAML file.

    Raises:
        ConfigError: unreadable, not YAML, or not valid.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {(error.strerror or 'unknown error').lower()}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" near line {mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{path} is not valid YAML{line}: {getattr(error, 'problem', None) or 'not text'}"
        ) from error
    return build_config(data, str(path))


def config_for(source: str | Path | RunConfig) -> RunConfig:
    """Return the configuration a user means by ``source``: a config file, or one camera with defaults.

    Cameras that are not enabled are left out.

    Raises:
        ConfigError: the configuration is not valid.
        SourceError: a file that is not there (told before the models are loaded, which takes seconds).
    """
    if isinstance(source, RunConfig):
        return source.watched()
    text = str(source)
    if "://" not in text and Path(text).suffix.lower() in (".yaml", ".yml"):
        return load_config(Path(text)).watched()
    if not text.isdecimal() and "://" not in text and not Path(text).exists():
        raise SourceError(f"no video file at {text}: check the path")
    stem = Path(text).stem if "://" not in text else "camera"
    name = re.sub(r"[^\w.-]", "_", stem)[:64] or "camera"
    camera = {"name": "webcam" + name if name.isdecimal() else name, "source": text}
    return build_config({"cameras": [camera]}, "command line")


def _expand(value: Any, where: str, environment: Mapping[str, str] | None) -> Any:
    """Replace ``${NAME}`` in strings."""
    if isinstance(value, dict):
        return {key: _expand(item, where, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, where, environment) for item in value]
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)\}", lambda match: _looked_up(match.group(1), where, environment), value)
    return value


def _looked_up(name: str, where: str, environment: Mapping[str, str] | None) -> str:
    if environment is None:
        return "unseen"
    if name not in environment:
        raise ConfigError(f"{where}: environment variable {name} is not set")
    return environment[name]


def _explain(error: Any) -> str:
    location: tuple[Any, ...] = error["loc"]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    if error["type"] == "extra_forbidden":
        known = _keys_at(location[:-1])
        close = get_close_matches(str(location[-1]), known, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}"
        return f"{place}: unknown key, {hint}"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    tell = isinstance(given, str | int | float | bool) and error["loc"][-1:] not in (("secret",), ("password",))
    shown = f" (got {redact(str(given))!r})" if tell else ""
    return f"{place}: ".removeprefix(": ") + f"{message[:1].lower()}{message[1:]}{shown}"


def _keys_at(location: tuple[Any, ...]) -> list[str]:
    """Names of the fields of the section at ``location``."""
    model: type[BaseModel] = RunConfig
    for part in location:
        if not isinstance(part, int):
            model = _section_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, perhaps inside a tuple or beside ``None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _section_in(inner)) is not None), None)
