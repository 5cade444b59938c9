"""Error messages for invalid settings: pydantic's and YAML's own words as plain sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from facegate.errors import ConfigError
from facegate.pipeline.addresses import redact
from facegate.pipeline.config.values import NAME_PATTERN, TEXT_PATTERN

SECRETS = ("secret", "password")
"""Keys whose values are never repeated."""

_MESSAGES = {
    "missing": "is missing",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text; put it in quotes if it looks like a number",
    "string_too_short": "must have a minimum length of {min_length}",
    "string_too_long": "must have a maximum length of {max_length}",
    "string_pattern_mismatch": "has a character that is not allowed, or another format",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "path_type": "must be a path",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "too_short": "must have {min_length} or more entries",
    "too_long": "must have {max_length} or fewer entries",
    "dict_type": "must be a group of settings such as 'key: value'",
    "model_type": "must be a group of settings such as 'key: value'",
    "model_attributes_type": "must be a group of settings such as 'key: value'",
    "invalid_key": "has a key that is not text; put it in quotes",
    "extra_forbidden": "is an unknown key",
    "json_invalid": "is not valid JSON",
    "value_error": "{error}",
}
"""By pydantic's error type; any other is ``is not valid``."""
_PATTERNS = {
    NAME_PATTERN: "must be 1 to 64 letters, digits, '_', '.' or '-'",
    TEXT_PATTERN: "must not contain line breaks or other control characters",
}
_YAML = {
    "mapping values are not allowed": "unexpected ':'; put text that contains ': ' in quotes",
    "could not find expected ':'": "a key without ':'",
    "expected ',' or ']'": "a list without ']', or entries without ',' between them",
    "expected ',' or '}'": "a group without '}', or entries without ',' between them",
    "expected the node content": "a list or group that is not closed",
    "expected <block end>": "wrong indentation; entries of one list or section start in the same column",
    "found character '\\t'": "a tab; indent with spaces",
    "found character": "text that starts with a special character; put it in quotes",
    "found unexpected end of stream": "a quotation mark that is not closed",
    "found undefined alias": "text that starts with '*'; put it in quotes",
    "could not determine a constructor": "text that starts with '!'; put it in quotes",
    "found unknown escape character": "an unknown escape in double quotes; use single quotes",
}
"""By the start of the parser's text."""


def problem(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """Describe the first problem in one line: the setting, what is wrong and, for an unknown key, the nearest one.

    Args:
        error: of validating ``model``.
        model: the section that was validated.
        prefix: place of the section in the file, such as ``cameras[0].gate``.
    """
    # A misspelled key is also a missing one; the spelling is the better hint.
    first = min(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
    location = first["loc"]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    place = (prefix + path).lstrip(".")
    message = _unknown_key(location, model) if first["type"] == "extra_forbidden" else explain(first)
    return " ".join(f"{place}: {message}".removeprefix(": ").split())


def explain(error: Mapping[str, Any]) -> str:
    """Describe one of pydantic's errors without its place: ``must be greater than 0 (got -1)``."""
    context = {
        key: f"{value:g}" if isinstance(value, float) else value for key, value in error.get("ctx", {}).items()
    }
    pattern = _PATTERNS.get(str(context.get("pattern")))
    message = pattern or _MESSAGES.get(error["type"], "is not valid").format(**context)
    if error["type"] == "string_too_short" and not error.get("input"):
        return "must not be empty"
    given, location = error.get("input"), error["loc"]
    shown = isinstance(given, str | int | float) and not any(part in SECRETS for part in location[-1:])
    return f"{message[:1].lower()}{message[1:]}" + (f" (got {_value(given)})" if shown else "")


def _value(given: Any) -> str:
    """A value as it is written in YAML, without passwords."""
    if isinstance(given, str):
        return repr(redact(given))
    return str(given).lower() if isinstance(given, bool) else str(given)


def yaml_problem(path: Path, error: Exception) -> ConfigError:
    """Return the error for a file that PyYAML or ruamel.yaml cannot parse."""
    mark = getattr(error, "problem_mark", None)
    line = f" near line {mark.line + 1}" if mark else ""
    text = str(getattr(error, "problem", None) or "")
    reason = next((message for start, message in _YAML.items() if text.startswith(start)), None)
    if twice := re.match(r'found duplicate key "([^"\n]*)"', text):
        reason = f"the key '{twice[1]}' occurs twice in one section; remove one of them"
    if hasattr(error, "character"):
        reason = "a control character"
    return ConfigError(f"{path} is not valid YAML{line}: {reason or 'check quotes, colons and indentation there'}")


def _unknown_key(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    known = _keys_at(location[:-1], model)
    close = get_close_matches(str(location[-1]), known, 1)
    hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}"
    return f"unknown key, {hint}"


def _keys_at(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """Names of the fields of the section at ``location``."""
    for part in location:
        if not isinstance(part, int):
            model = _section_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, perhaps inside a tuple or beside ``None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _section_in(inner)) is not None), None)
