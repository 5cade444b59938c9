"""A wrong value or a broken file is described in our words, never in those of pydantic or YAML."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from facegate.console.processes.config_file import ConfigFile
from facegate.errors import ConfigError, FacegateError
from facegate.fleet import configuration
from facegate.pipeline.config import RunConfig, build_config, load_config
from facegate.recognition.publishers.factory import SECRET, PublisherSet

from ..console.serving import served
from ..helpers import facegate

RAW = (
    "Input should", "Value error", "String should", "Field required", "validation error", "type=", "Extra inputs",
    "errors.pydantic", "should have", "should be", "unable to parse", "JSON decode", "could not be cast",
    "out of range", "while parsing", "but found", "token", "scalar", "constructor", "mapping", "unseen",
)  # fmt: skip
BROKEN = (
    "a: [1, 2", "a: {b", "a: b: c", "a:\n\t- b", "a: 'x", "a: *x", 'a: "\\q"', "a: !x 1", "a: @x", "- a\nb: c",
    "a: x\x01", "a: |x", "%YAML 9.9\n---\na: 1", "a: b\n---\nc: d", "? [", "a: &x", "cameras: []\ncameras: []",
)  # fmt: skip
WRONG: tuple[object, ...] = (
    {}, {"x": 1}, {1: 2}, [], [{}], [[1]], "", "x", "a b\tc", "x" * 5000, "\ud800", -1, 0, 1.5, 10**30,
    float("nan"), float("inf"), True, None, b"x",
)  # fmt: skip
CAMERA = {"name": "a", "source": "rtsp://h/x"}


def raw(message: str) -> list[str]:
    return [word for word in RAW if word in message]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    said: list[str] = [ConfigFile(path).version().problem or ""]
    for read in (load_config, configuration.read):
        with pytest.raises(ConfigError) as caught:
            read(path)
        said.append(str(caught.value))
    assert not [raw(each.replace(str(path), "")) for each in said if raw(each.replace(str(path), ""))]
    assert not any("\n" in each for each in said)


def settings(model: type[BaseModel], place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The place of every setting; of a list of sections, in its only entry."""
    for name, field in model.model_fields.items():
        yield (*place, name)
        for inner in (field.annotation, *get_args(field.annotation), *map(get_args, get_args(field.annotation))):
            for each in inner if isinstance(inner, tuple) else (inner,):
                if isinstance(each, type) and issubclass(each, BaseModel):
                    yield from settings(each, (*place, name))


def with_value(place: tuple[str, ...], value: object) -> dict[str, Any]:
    data: Any = value
    for index, name in reversed(list(enumerate(place))):
        if name == "outputs" and isinstance(data, dict) and index < len(place) - 1:
            data = {name: [{"kind": "webhook", "url": "https://h", "spool": "s.db"} | data]}
        elif name == "cameras" and isinstance(data, dict) and index < len(place) - 1:
            data = {name: [CAMERA | data]}
        else:
            data = {name: data}
    return {"cameras": [CAMERA]} | data if isinstance(data, dict) else data


@pytest.mark.parametrize("place", sorted(set(settings(RunConfig))), ids=".".join)
def test_a_wrong_value_of_any_setting(place: tuple[str, ...]) -> None:
    refused = 0
    for value in WRONG:
        for check in (build_config, configuration.check):
            try:
                check(with_value(place, value), "c.yaml")
            except FacegateError as error:
                refused += 1
                assert not raw(str(error)) and "\n" not in str(error), (value, str(error))
    assert refused


@pytest.mark.parametrize(
    "url",
    [
        "https://", "http://10.0.0.5/", "https://h:99999", "https://h:abc", "https://[h", "mqtts://x/+/a", "mqtt://10.0.0.5",
        "nats://h:0", "tls://h:x", "store://", "x", "tcp://h", "tcp://127.0.0.1:x", "https://" + "x" * 3000, "mqtts://h:1:2",
    ],
)  # fmt: skip
def test_a_wrong_url_of_a_publisher(url: str, tmp_path: Path) -> None:
    with pytest.raises(FacegateError) as caught:
        PublisherSet([url], tmp_path).close()
    assert not raw(str(caught.value)), str(caught.value)


def test_a_secret_that_is_too_short_is_named_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET, "short")
    with pytest.raises(ConfigError, match=f"{SECRET} must have a minimum length of 8") as caught:
        PublisherSet(["https://h/x"], tmp_path)
    assert "short" not in str(caught.value)


def requests(document: dict[str, Any]) -> Iterator[tuple[str, str, object]]:
    """Method, path and body of wrong requests to every route."""
    for path, routes in document["paths"].items():
        place = path.replace("{", "").replace("}", "")
        for method, route in routes.items():
            content = route.get("requestBody", {}).get("content", {}).get("application/json")
            if content is not None:
                for body in (b"{", b"[", b"null", [], "x", {}, {"no such": 1}, b"\xff"):
                    yield method, place, body
                model = document["components"]["schemas"].get(content["schema"].get("$ref", "").rpartition("/")[2])
                for name in (model or {}).get("properties", {}):
                    for value in ({"x": 1}, [[1]], "", "\t", "x" * 5000, -1, 1.5, None):
                        yield method, place, {name: value}
            if method == "get" and not path.endswith("/events"):
                for each in route.get("parameters", ()):
                    for text in ("x", "-1", "1e99", "") if each["in"] == "query" else ():
                        yield method, f"{place}?{each['name']}={text}", None


def test_a_wrong_request(tmp_path: Path) -> None:
    invalid = 0
    with served(tmp_path / "data") as console:
        for method, path, body in requests(console.get("/openapi.json")):
            answer = console.ask(method.upper(), path, body)
            invalid += answer.status == 422
            assert answer.status < 300 or not raw(answer.body.decode()), (method, path, body, answer.body)
    assert invalid > 100


def test_wrong_files_and_values_of_commands(tmp_path: Path) -> None:
    broken, wrong = tmp_path / "broken.yaml", tmp_path / "wrong.yaml"
    broken.write_text("cameras: [")
    wrong.write_text("cameras: [{name: a, source: x.mp4, max_fps: fast}]")
    clip = Path(__file__).parent.parent / "fixtures" / "recording-4.rec"
    commands: tuple[tuple[object, ...], ...] = (
        ("run", broken),
        ("replay", clip, "--config", wrong),
        ("fleet", "apply", wrong, "--fleet", "nats://127.0.0.1:9/x"),
        ("run", clip, "--min-quality", "high"),
        ("recognize", "--gallery", tmp_path, "--publish", "https://h:abc"),
    )
    for command in commands:
        done = facegate(*command)
        assert done.returncode in (1, 2), (command, done.stderr)
        assert not raw(done.stderr), (command, done.stderr)
