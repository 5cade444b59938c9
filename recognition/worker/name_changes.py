"""Applies changes of the gallery to names given before."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from facegate.recognition.matching.gallery import Gallery

SAME_PERSON = 0.9
"""Cosine from which a new name's template belongs to the person of a removed name."""


def vanished(before: Gallery, after: Gallery) -> dict[str, str | None]:
    """Names no longer in the gallery, each with the person's new name or ``None``."""
    remaining = set(after.names)
    gone: dict[str, str | None] = {}
    comparable = len(after.names) > 0 and before.templates.shape[1] == after.templates.shape[1]
    for row, name in enumerate(before.names):
        if name in remaining:
            continue
        gone[name] = None
        if comparable:
            similarities = after.templates @ before.templates[row]
            best = int(similarities.argmax())
            if similarities[best] >= SAME_PERSON:
                gone[name] = after.names[best]
    return gone


def renamed_line(line: bytes, new_name: Callable[[str], str | None]) -> bytes | None:
    """Apply current names to a worker's line; ``None`` if nothing is left to report.

    Args:
        line: a visit event, JSON; anything else is returned unchanged.
        new_name: returns a person's current name, ``None`` if removed.
    """
    fields = _decoded(line)
    name, before = fields.get("name"), fields.get("before")
    now = new_name(name) if isinstance(name, str) else None
    earlier = new_name(before) if isinstance(before, str) else None
    if (now, earlier) == (name, before):
        return line
    if now is None and fields.get("event") == "named":
        return None
    return msgspec.json.encode(fields | {"name": now, "before": earlier})


def named_visit(line: bytes, is_named: Callable[[str], bool]) -> str | None:
    """Visit id of a worker's line, if it contains a name for which ``is_named`` holds."""
    fields = _decoded(line)
    visit, names = fields.get("visit"), (fields.get("name"), fields.get("before"))
    found = any(isinstance(name, str) and is_named(name) for name in names)
    return visit if isinstance(visit, str) and found else None


def _decoded(line: bytes) -> dict[str, object]:
    try:
        return msgspec.json.decode(line, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
