"""The types with which the pages' JavaScript is checked are those of the API.

python -m tests.test_page_types     # writes console/web/api.d.ts again
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from facegate.console.state import ConsoleState
from facegate.console.web.app import create_app

TYPES = Path(__file__).parent.parent / "console" / "web" / "api.d.ts"
HEAD = "// The records of the API, for checking the pages. Generated: python -m tests.test_page_types\n"
PRIMITIVES = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def typescript(schema: dict[str, Any]) -> str:
    """The TypeScript type of a JSON schema."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1].replace("-", "")
    if "anyOf" in schema:
        return " | ".join(typescript(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in schema["enum"])
    kind = schema.get("type")
    if kind == "array" and "prefixItems" in schema:
        return "[" + ", ".join(typescript(each) for each in schema["prefixItems"]) + "]"
    if kind == "array":
        return f"Array<{typescript(schema['items'])}>"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"Record<string, {typescript(values) if isinstance(values, dict) else 'any'}>"
    return PRIMITIVES[kind] if kind else "any"


def declarations() -> str:
    """An interface for each schema of the API, as TypeScript."""
    console = cast(ConsoleState, SimpleNamespace(accounts=None, audit=None, requests=None, peers=()))
    schemas = create_app(console).openapi()["components"]["schemas"]
    out = [HEAD]
    for name, schema in sorted(schemas.items()):
        if "properties" not in schema or name.startswith("Body_"):
            continue
        # A reply holds every field of its model; a request (no others are allowed in it) only what is required.
        needed = schema.get("required", ()) if schema.get("additionalProperties") is False else schema["properties"]
        fields = [
            f"  {key}{'' if key in needed else '?'}: {typescript(each)};"
            for key, each in schema["properties"].items()
        ]
        out.append(f"export interface {name.replace('-', '')} {{\n" + "\n".join(fields) + "\n}\n")
    return "\n".join(out)


def test_pages_are_checked_against_the_records_that_the_api_has() -> None:
    assert TYPES.read_text(encoding="utf-8") == declarations(), "run python -m tests.test_page_types"


if __name__ == "__main__":
    TYPES.write_text(declarations(), encoding="utf-8")
