"""Found cameras as entries of a configuration file; those in it already are found again by serial number."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from facegate.errors import ConfigError, os_errors
from facegate.paths import replacing
from facegate.pipeline.config import build_config
from facegate.pipeline.discovery.records import FoundCamera


def write_cameras(
    path: Path, found: Sequence[FoundCamera], user: str | None, password_file: Path | None
) -> list[str]:
    """Add cameras with a stream to a configuration file, which is created if it is missing.

    An entry with the ``serial`` of a found camera gets its address; nothing else of the file changes.

    Args:
        path: the file.
        found: cameras.
        user: written beside each new source.
        password_file: written beside each new source.

    Returns:
        A line about each camera.

    Raises:
        ConfigError: the file is invalid, or cannot be written.
    """
    yaml, content = YAML(), ""
    yaml.indent(mapping=2, sequence=4, offset=2)
    if path.exists():
        with os_errors(ConfigError, f"cannot read {path}"):
            content = path.read_text(encoding="utf-8")
    try:
        data: Any = yaml.load(content) or {}
        entries: list[Any] = data.setdefault("cameras", [])
        known = {str(each["serial"]): each for each in entries if "serial" in each}
        names = {str(each["name"]) for each in entries}
    except (YAMLError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"{path} is not a configuration: check it with 'facegate run', or give a new file"
        ) from error
    lines = []
    for camera in found:
        if camera.main is None or camera.main.url is None:
            lines.append(f"{camera.address}: not written: {camera.problem}")
        elif (entry := known.get(camera.serial)) is not None and camera.serial:
            moved = [key for key in ("source", "main_stream") if _move(entry, key, camera.main.url)]
            lines.append(f"{entry['name']}: {f'now at {camera.address}' if moved else 'unchanged'}")
        else:
            entries.append(_entry(camera, names, user, password_file))
            names.add(str(entries[-1]["name"]))
            lines.append(f"{entries[-1]['name']}: added")
    if not entries:
        return lines
    text = io.StringIO()
    yaml.dump(data, text)
    build_config(YAML(typ="safe").load(text.getvalue()), str(path))
    with os_errors(ConfigError, f"cannot write {path}"), replacing(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")
    return lines


def _entry(camera: FoundCamera, names: set[str], user: str | None, password_file: Path | None) -> dict[str, str]:
    assert camera.main is not None and camera.main.url is not None
    made: dict[str, str] = {"name": _name(camera, names), "source": camera.main.url}
    if camera.sub is not None and camera.sub.url is not None:
        made |= {"source": camera.sub.url, "main_stream": camera.main.url}
    if user is not None:
        made["user"] = user
    if password_file is not None:
        made["password_file"] = str(password_file.absolute())
    return made | ({"serial": camera.serial} if camera.serial else {})


def _name(camera: FoundCamera, names: set[str]) -> str:
    stem = re.sub(r"[^\w.-]+", "-", camera.model or camera.vendor or camera.address).strip("-")[:48] or "camera"
    number, name = 1, stem
    while name in names:
        number += 1
        name = f"{stem}-{number}"
    return name


def _move(entry: Any, key: str, url: str) -> bool:
    """Put the host of ``url`` into a URL of an entry, whose port stays; return whether that changes it."""
    if key not in entry or "://" not in str(entry[key]):
        return False
    old, host = urlsplit(str(entry[key])), urlsplit(url).hostname or ""
    login = old.netloc.rpartition("@")[0]
    host = (f"[{host}]" if ":" in host else host) + ("" if old.port is None else f":{old.port}")
    moved = urlunsplit(old._replace(netloc=f"{login}@{host}" if login else host))
    changed: bool = moved != str(entry[key])
    entry[key] = moved
    return changed
