"""The reference of the command line, as typer knows it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from facegate.cli.app import app


def commands() -> str:
    """Every command with its arguments and options."""
    return "\n".join(_command(path, command) for path, command in _leaves(typer.main.get_command(app), "facegate"))


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    yield path, command
    for name, inner in command.commands.items():
        yield from _leaves(inner, f"{path} {name}")


def _command(path: str, command: Any) -> str:
    level = "##" if len(path.split()) <= 2 else "###"
    text, examples = _help(command.help or "")
    arguments = [param for param in command.params if not hasattr(param, "is_flag")]
    shown = " ".join(_argument(param) for param in arguments)
    usage = "COMMAND" if hasattr(command, "commands") else f"[OPTIONS]{' ' + shown if shown else ''}"
    out = [f"{level} `{path}`\n\n{text}\n\n`{path} {usage}`\n"]
    rows = [(f"`{_argument(param).strip('[]')}`", _cell(param.help), _default(param)) for param in arguments] + [
        (f"`{', '.join(param.opts)}`", _cell(param.help), _default(param))
        for param in command.params
        if hasattr(param, "is_flag")
    ]
    rows = [row for row in rows if row[0] != "`--help`"]
    if rows:
        out.append("| | meaning | default |\n|---|---|---|\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows))
    if examples:
        out.append(f"```\n{examples}\n```\n")
    return "\n".join(out)


def _help(text: str) -> tuple[str, str]:
    """The prose of a help text, and its examples (the block that begins with a backspace)."""
    paragraphs = [part.strip("\n") for part in text.replace("\b", "").split("\n\n")]
    examples = [part for part in paragraphs if re.search(r"^\s*facegate ", part, re.MULTILINE)]
    prose = [" ".join(part.split()) for part in paragraphs if part not in examples]
    lines = [line.strip() for part in examples for line in part.splitlines()]
    return "\n\n".join(prose).replace("``", "`"), "\n".join(lines)


def _argument(param: Any) -> str:
    name = (param.metavar or param.name or "").upper() if param.metavar is None else str(param.metavar)
    name += "..." if param.nargs == -1 else ""
    return name if param.required else f"[{name}]"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def _default(param: Any) -> str:
    if isinstance(param.show_default, str):
        return f"`{param.show_default}`" if re.search(r"[\d/.]", param.show_default) else param.show_default
    if param.required:
        return "required"
    value = param.default
    return "" if value is None or value is False else f"`{value}`"
