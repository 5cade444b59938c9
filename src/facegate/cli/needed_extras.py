"""Which extras a command line needs, checked before the command loads anything.

Options have the same names in every command, so the check knows them by name: a command added later is checked too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import typer

from facegate.extras import SCHEMES, TORCH_SUFFIXES, require

COMMANDS = {
    "facegate demo": "demo",
    "facegate evaluate": "evaluate",
    "facegate models export": "torch",
    "facegate models pull": "torch",
    "facegate models tune": "torch",
}
"""Commands that always need an extra."""


def check_commands(app: typer.Typer, path: str = "facegate") -> None:
    """Make every command of ``app`` check its extras first."""
    for command in app.registered_commands:
        if command.callback is not None:
            name = command.name or command.callback.__name__.replace("_", "-")
            command.callback = _checked(f"{path} {name}", command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            check_commands(group.typer_instance, f"{path} {group.name}")


def _checked(path: str, command: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(command)
    def checked(*args: Any, **options: Any) -> Any:
        for extra, what in _needed(path, options):
            require(extra, what)
        return command(*args, **options)

    return checked


def _needed(path: str, options: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Extras that a command needs with these options, and what needs each."""
    if path in COMMANDS:
        yield COMMANDS[path], f"'{path}'"
    if path.startswith("facegate fleet ") or options.get("fleet"):
        yield "nats", f"'{path}'" if path.startswith("facegate fleet ") else "--fleet"
    if options.get("demo") is True:
        yield "demo", "--demo"
    if options.get("picture") is not None:
        yield "evaluate", "--plot"
    for name in ("embedder", "recognizer"):
        for given in _list(options.get(name)):
            if given == "dlib" or Path(given).is_dir():
                yield "dlib" if given == "dlib" else "insightface", f"--{name} {given}"
    for name in ("connect", "publish"):
        for url in _list(options.get(name)):
            scheme = urlsplit(url).scheme
            if scheme in SCHEMES:
                yield SCHEMES[scheme], f"--{name} {scheme}://"
    if options.get("detector") == "scrfd":
        yield "insightface", "--detector scrfd"
    if (folder := options.get("detector_path")) is not None and folder.is_dir():
        yield "insightface", f"--detector-path {folder}"
    if (weights := options.get("weights")) is not None and Path(weights).suffix in TORCH_SUFFIXES:
        yield "torch", f"{weights}"


def _list(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else list(given or ())
