"""Help of every command: complete sentences, examples, and defaults that are the code's."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator

import pytest
import typer
from typer.core import TyperArgument, TyperGroup, TyperOption
from typer.testing import CliRunner

from facegate import errors
from facegate.cli.app import app
from facegate.cli.exit_codes import ExitCode
from facegate.pipeline.config import DEFAULT_BIND, DeliveryConfig, DetectorConfig, GateConfig, RunConfig
from facegate.recognition.matching.decision_rule import DEFAULT_FPIR
from facegate.recognition.search.face_search import SEARCH_FPIR

from ..test_structure import modules
from .test_language import WORDS

SETTINGS = {
    ("run", "bind"): DeliveryConfig().bind,
    ("run", "device"): RunConfig.model_fields["device"].default,
    ("recognize", "device"): RunConfig.model_fields["device"].default,
    ("run", "detector"): DetectorConfig().kind,
    ("run", "min_quality"): GateConfig().min_quality,
    ("run", "linger"): DeliveryConfig().linger_s,
    ("recognize", "connect"): DEFAULT_BIND,
    ("spool retry", "bind"): DeliveryConfig().bind,
}
"""Options without a default of their own: where they are left out, a setting's default holds."""

DESCRIPTIONS = {
    "$FACEGATE_CACHE or ~/.cache/facegate",
    "DATA/facegate.yaml",
    "DATA/people.db",
    "NAME.key.json",
    "all",
    "all people",
    "facegate-shots",
    "as last served",
    "audit.db in the data folder",
    "in the user's cache",
    "measured",
    "one per four cores",
    "the built-in model",
    "this host's name",
    "~/.local/share/facegate",
    "~/.local/share/facegate/fleet",
}
"""Defaults that depend on the host or on other options."""


def commands() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Every command with its full name, groups left out."""

    def walk(name: str, command: object) -> Iterator[tuple[str, typer.core.TyperCommand]]:
        if isinstance(command, TyperGroup):
            for each, child in command.commands.items():
                yield from walk(f"{name} {each}".strip(), child)
        else:
            assert isinstance(command, typer.core.TyperCommand)
            yield name, command

    yield from walk("", typer.main.get_command(app))


COMMANDS = dict(commands())


def test_there_are_as_many_commands_as_functions_registered() -> None:
    groups = [
        importlib.import_module(f"facegate.cli.commands.{name}").app for name in ("fleet", "gallery", "models")
    ]
    assert len(COMMANDS) > len(app.registered_commands) + sum(len(group.registered_commands) for group in groups)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_a_sentence_with_examples(name: str) -> None:
    text = COMMANDS[name].help or ""
    first = text.split("\n\n")[0]
    assert first[0].isupper() and first.endswith(".") and len(first.split()) >= 3, first
    assert f"facegate {name}" in text.split("\b")[1], "no example"
    assert not WORDS.search(text)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_argument_is_described(name: str) -> None:
    for param in COMMANDS[name].params:
        assert isinstance(param, TyperOption | TyperArgument)
        text = param.help or ""
        assert text[:1].isupper() and text.endswith(".") and len(text.split()) >= 3, f"{param.name}: {text!r}"
        assert not WORDS.search(text), f"{param.name}: {text!r}"
        repeated = isinstance(param, TyperOption) and param.multiple
        assert ("Repeatable" in text) == repeated, f"{param.name}: {text!r}"
        if isinstance(param, TyperArgument):
            assert param.metavar and param.metavar[0].isupper(), f"{param.name}: metavar {param.metavar}"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_default_in_help_is_that_of_the_code(name: str) -> None:
    for param in COMMANDS[name].params:
        assert isinstance(param, TyperOption | TyperArgument)
        if (name, param.name) in SETTINGS:
            assert param.default is None
            value = SETTINGS[name, param.name]
            shown = f"{param.show_default}"
            assert shown == str(value) or float(shown) == value, f"{param.name}: {shown}, in the code {value}"
            printed = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200"}).stdout
            assert shown in printed
        elif isinstance(param.show_default, str):
            assert f"{param.show_default}" in DESCRIPTIONS, f"{param.name}: {param.show_default}"
        if param.name == "fpir":
            assert param.default == (SEARCH_FPIR if name == "search" else DEFAULT_FPIR)


def test_exit_codes_come_from_one_table() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    assert {kind.exit_code for kind in kinds if issubclass(kind, errors.FacegateError)} == {
        ExitCode.REFUSED,
        ExitCode.USAGE,
    }
    for module, path in modules():
        if not module.startswith("facegate.cli."):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.Exit", "leave", "sys.exit"):
                literals = [part for part in ast.walk(node) if isinstance(part, ast.Constant)]
                assert not literals, f"{module}:{node.lineno}: {ast.unparse(node)}"
