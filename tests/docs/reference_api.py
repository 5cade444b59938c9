"""The reference of the console's API, as its OpenAPI description has it."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any, cast

from facegate.console.state import ConsoleState
from facegate.console.web.app import create_app

OWN = ("HTTPValidationError", "ValidationError")


@cache
def _description() -> dict[str, Any]:
    console = cast(ConsoleState, SimpleNamespace(accounts=None, audit=None, requests=None, peers=()))
    return create_app(console).openapi()


def rest_operations() -> str:
    """Every operation: method and path, what it does, its parameters, body and result."""
    out = ["| operation | does | parameters | body | result |\n|---|---|---|---|---|\n"]
    for path, methods in _description()["paths"].items():
        for method, operation in methods.items():
            cells = (
                f"`{method.upper()} {path.removeprefix('/api/v1')}`",
                _text(operation),
                ", ".join(_parameter(each) for each in operation.get("parameters", ()) if each["in"] != "path"),
                _content(operation.get("requestBody", {})),
                _result(operation["responses"]),
            )
            out.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n")
    return "".join(out)


def rest_schemas() -> str:
    """Every record of requests and results."""
    out = []
    for name, schema in sorted(_description()["components"]["schemas"].items()):
        if "properties" not in schema or name in OWN:
            continue
        needed = schema.get("required", ())
        rows = "".join(
            f"| `{key}` | {_kind(each)}{'' if key in needed else '; optional'} | {_text(each)} |\n"
            for key, each in schema["properties"].items()
        )
        title = "Form of an upload" if name.startswith("Body_") else name
        text = _text(schema)
        anchor = f'<a id="{name.lower()}"></a>\n\n'
        out.append(
            f"{anchor}### {title}\n\n{text}\n\n| field | type | meaning |\n|---|---|---|\n{rows}".replace(
                "\n\n\n\n", "\n\n"
            )
        )
    return "\n".join(out)


def _text(part: dict[str, Any]) -> str:
    return " ".join(part.get("description", "").split()).replace("``", "`").replace("|", "\\|")


def _parameter(parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    default = f" = {schema['default']}" if schema.get("default") is not None else ""
    return f"`{parameter['name']}{default}`"


def _content(part: dict[str, Any]) -> str:
    return ", ".join(_body(media, each.get("schema", {})) for media, each in part.get("content", {}).items())


def _body(media: str, schema: dict[str, Any]) -> str:
    return _kind(schema) if media == "application/json" and schema else f"`{media}`"


def _result(responses: dict[str, Any]) -> str:
    code = min(responses)
    return f"{code} {_content(responses[code])}".strip()


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})" if not name.startswith("Body_") else f"[form](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(each) for each in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        items = schema.get("prefixItems") or ([schema["items"]] if "items" in schema else [])
        text = "list of " + " and ".join(dict.fromkeys(_kind(each) for each in items))
        return text.replace("list of list of list of number", "list of polygons")
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"map of {_kind(values)}" if isinstance(values, dict) else "object"
    return {"null": "`null`", None: "any"}.get(kind, str(kind))
