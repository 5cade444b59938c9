"""Generates the parts of ``docs/reference`` that describe what the code has.

python -m tests.docs.reference     # writes the pages again
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel

from facegate.errors import FacegateError
from facegate.pipeline.config import (
    CameraConfig,
    DeliveryConfig,
    DetectorConfig,
    GateConfig,
    LimitsConfig,
    OutputConfig,
    PeopleConfig,
    ScorerConfig,
    SpoolConfig,
    StoreConfig,
    TrackerConfig,
)
from facegate.pipeline.observability import report
from facegate.recognition.worker.visit_state import VisitEvent
from facegate.sinks import wire
from facegate.sinks.base import DeliveryReport

from .reference_api import rest_operations, rest_schemas
from .reference_commands import commands
from .reference_metrics import metrics

DOCS = Path(__file__).parent.parent.parent / "docs"
BLOCK = re.compile(r"(?<=<!-- generated: )([a-z-]+)( -->\n)(.*?)(?=<!-- end -->)", re.DOTALL)
SECTIONS: tuple[tuple[str, type], ...] = (
    ("cameras[]", CameraConfig),
    ("detector", DetectorConfig),
    ("tracker", TrackerConfig),
    ("scorer", ScorerConfig),
    ("gate", GateConfig),
    ("gate.limits", LimitsConfig),
    ("gate.identity", PeopleConfig),
    ("delivery", DeliveryConfig),
    ("delivery.spool", SpoolConfig),
    ("delivery.outputs[]", OutputConfig),
    ("store", StoreConfig),
)
WORDS = {
    "bool": "boolean",
    "int": "integer",
    "float": "number",
    "str": "text",
    "Path": "path",
    "None": "`null`",
    "Name": "name",
    "Text": "text",
    "Aspect": "ratio",
    "Polygon": "polygon",
    "Region": "region",
    "Endpoint": "endpoint",
    "Any": "any",
    "bytes": "bytes",
    "Box": "box",
    "FrameAge": "frame ages",
}
BOUNDS = {"ge": "≥ ", "gt": "> ", "le": "≤ ", "lt": "< ", "max_length": "at most ", "min_length": "at least "}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    cells = [list(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    lines.insert(1, "|" + "---|" * len(cells[0]))
    return "\n".join(lines) + "\n"


def prose(text: str | None) -> str:
    """A docstring as one line of Markdown."""
    one_line = " ".join((text or "").split())
    one_line = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", one_line)
    return one_line.replace("``", "`")


class Described(msgspec.Struct, frozen=True):
    """A field or member of a class as its source has it."""

    name: str
    annotation: ast.expr | None
    value: ast.expr | None
    text: str
    """Its docstring, on one line."""


def described(cls: type) -> Iterator[Described]:
    """Fields of a class, or members of an enumeration, with their docstrings; those of its bases first."""
    for base in cls.__mro__[1:]:
        if base.__module__.startswith("facegate"):
            yield from described(base)
            break
    (body,) = (
        node.body
        for node in ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        if isinstance(node, ast.ClassDef)
    )
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name, annotation = node.target.id, node.annotation
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, annotation = node.targets[0].id, None
        else:
            continue
        if name.startswith(("_", "model_")):
            continue
        text = ""
        if (
            isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            text = prose(after.value.value)
        yield Described(name, annotation, node.value, text)


def kind(annotation: ast.expr | None) -> str:
    """An annotation in words."""
    match annotation:
        case ast.BinOp(left=left, right=right):
            return f"{kind(left)} or {kind(right)}"
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            values = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return ", ".join(f"`{value.value}`" for value in values if isinstance(value, ast.Constant))
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[_, value])):
            return f"map of {kind(value)}"
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[item, ast.Constant(value=value)])):
            return f"list of {kind(item)}" if value is ... else f"[{kind(item)}]"
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=items)):
            return "[" + ", ".join(map(kind, items)) + "]"
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return f"list of {kind(item)}"
        case ast.Constant(value=None):
            return "`null`"
        case ast.Name(id=name):
            return WORDS.get(name, f"`{name}`")
        case ast.Attribute(attr=name):
            return WORDS.get(name, f"`{name}`")
    return "any"


def setting(field: Described, cls: Any) -> tuple[str, str, str, str]:
    """A row: name, type with range, default, meaning."""
    info = cls.model_fields[field.name]
    if info.is_required():
        default = "required"
    else:
        value = info.get_default(call_default_factory=True)
        default = "section" if isinstance(value, BaseModel) else f"`{plain(value)}`"
    bounds = [
        f"{words}{getattr(item, name)}"
        for item in info.metadata
        for name, words in BOUNDS.items()
        if getattr(item, name, None) is not None
    ]
    shown = kind(field.annotation) + (
        f"; {', '.join(bounds)}" if bounds and "`" not in kind(field.annotation)[:1] else ""
    )
    meaning = field.text or ("See the section of this name." if default == "section" else "")
    return f"`{field.name}`", shown, default, meaning


def plain(value: object) -> str:
    """A default as YAML has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple | dict):
        return "[]" if isinstance(value, tuple) else "{}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def settings() -> str:
    """Every setting, section by section."""
    out = []
    for name, cls in SECTIONS:
        rows = [setting(field, cls) for field in described(cls)]
        out.append(
            f"## `{name}`\n\n{prose(cls.__doc__)}\n\n" + table(("setting", "type", "default", "meaning"), rows)
        )
    return "\n".join(out)


def record(cls: type) -> str:
    """The fields of a record."""
    rows = [
        (f"`{written_as(field)}`", kind(field.annotation), field.text)
        for field in described(cls)
        if field.annotation is not None
    ]
    return table(("field", "type", "meaning"), rows)


def written_as(field: Described) -> str:
    """The name under which a field is encoded."""
    if isinstance(field.value, ast.Call):
        for keyword in field.value.keywords:
            if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                return str(keyword.value.value)
    return field.name


def records(*classes: type) -> str:
    """A headline and a table for each record."""
    return "\n".join(f"### {cls.__name__}\n\n{prose(cls.__doc__)}\n\n{record(cls)}" for cls in classes)


def exit_codes() -> str:
    """Which error ends the command line with which code."""
    kinds = sorted(FacegateError.__subclasses__(), key=lambda cls: (cls.exit_code, cls.__name__))
    rows = [
        (str(cls.exit_code), f"`{cls.__name__}`", prose(cls.__doc__))
        for cls in kinds
        if cls.__module__ == "facegate.errors"
    ]
    return table(("code", "error", "meaning"), rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "commands": commands,
    "rest-operations": rest_operations,
    "rest-schemas": rest_schemas,
    "metrics": metrics,
    "exit-codes": exit_codes,
    "visit-event": lambda: record(VisitEvent),
    "run-report": lambda: records(
        report.RunReport,
        report.CameraReport,
        report.FrameAge,
        report.ScoringReport,
        report.CostReport,
        DeliveryReport,
    ),
    "wire-messages": lambda: records(wire.Ready, wire.Ack, wire.Feedback, wire.TrackEnded, wire.LiveTracksMessage),
}


def generated(text: str) -> str:
    """A page with its blocks as they should be."""
    return BLOCK.sub(lambda match: f"{match[1]}{match[2]}\n{BLOCKS[match[1]]().strip()}\n\n", text)


def pages() -> list[Path]:
    """The pages that have generated blocks."""
    return [path for path in sorted(DOCS.rglob("*.md")) if BLOCK.search(path.read_text(encoding="utf-8"))]


if __name__ == "__main__":
    for page in pages():
        page.write_text(generated(page.read_text(encoding="utf-8")), encoding="utf-8")
