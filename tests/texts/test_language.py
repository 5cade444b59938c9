"""What users and developers read: plain words, one spelling, and log events that stay the same."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..test_structure import ROOT, modules

BANNED = (
    "so many", "so long", "so often", "anew", "by itself", "any more", "what became of", "is told", "stands",
    "takes along", "such a", "whoever", "as good as",
)  # fmt: skip
BRITISH = (
    "recognis", "colour", "grey", "centre", "neighbour", "normalis", "quantis", "authoris", "behaviour", "licence",
    "enrolment", "optimis", "serialis", "initialis", "organis", "labelled", "favour",
)  # fmt: skip
WORDS = re.compile(r"\b(" + "|".join(BANNED) + r")\b|" + "|".join(BRITISH), re.IGNORECASE)
FILE_KEYS = ("recogniser", "licence")
"""Keys in files of earlier versions, which nobody is shown."""
LEVELS = ("debug", "info", "warning", "error", "exception")


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every string, docstring, comment and name in a module, names in words."""
    content = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in FILE_KEYS:
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type in (tokenize.COMMENT, tokenize.NAME):
            yield token.start[0], token.string.replace("_", " ")


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_module_says(module: str, path: Path) -> None:
    del module
    found = [
        f"{path.name}:{line}: {match[0]!r} in {text!r}"
        for line, text in texts(path)
        if (match := WORDS.search(text))
    ]
    assert not found


PAGES = sorted((ROOT / "console" / "web").rglob("*.js")) + sorted((ROOT / "console" / "web").rglob("*.html"))
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]


@pytest.mark.parametrize("path", [*PAGES, *TEXTS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_page_says(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.name in ("renamed.md", "CONTRIBUTING.md"):
        pytest.skip("names old or banned words on purpose")
    assert not [f"{n}: {match[0]!r}" for n, line in enumerate(lines, 1) if (match := WORDS.search(line))]


def log_events() -> Iterator[tuple[str, ast.expr]]:
    for module, path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in ("log", "_log")
                and node.args
            ):
                yield f"{module}:{node.lineno}", node.args[0]


def test_log_events_are_short_phrases_that_stay_the_same() -> None:
    wrong = []
    for place, event in log_events():
        if not (isinstance(event, ast.Constant) and isinstance(event.value, str)):
            wrong.append(f"{place}: not a constant; what varies belongs into fields")
        elif not re.fullmatch(r"[a-z0-9][^.:;]*", event.value) or len(event.value.split()) > 8:
            wrong.append(f"{place}: {event.value!r} is no short lower-case phrase")
    assert not wrong
