"""Configuration: validated, and every refusal names the place and the remedy in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from facegate.errors import ConfigError
from facegate.pipeline.addresses import redact
from facegate.pipeline.config import build_config, config_for, load_config

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_example_configuration_is_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", "secret")
    assert load_config(path).cameras


def test_what_is_commented_out_in_the_example_of_every_setting_is_valid_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CAMERA_PASSWORD", "WEBHOOK_SECRET", "MQTT_LOGIN", "NATS_LOGIN"):
        monkeypatch.setenv(name, "a secret")
    text = next(path for path in CONFIGS if path.name == "one-camera.yaml").read_text()
    place = text.index("delivery:")
    (tmp_path / "all.yaml").write_text(text[:place] + re.sub(r"^  # ", "  ", text[place:], flags=re.M))
    assert {other.kind for other in load_config(tmp_path / "all.yaml").delivery.outputs} == {
        "jsonl", "folder", "webhook", "mqtt", "jetstream",
    }  # fmt: skip


def test_there_are_example_configurations() -> None:
    assert CONFIGS


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"cameras": [{"name": "a", "sorce": "x.mp4"}]}, ("cameras[0].sorce", "did you mean 'source'")),
        ({"camera": []}, ("camera: unknown key", "did you mean 'cameras'")),
        (
            {"cameras": [{"name": "a", "source": "0"}], "delivery": {"outputs": [{"kinds": "lines"}]}},
            ("delivery.outputs[0].kinds", "did you mean 'kind'"),
        ),
        (
            {"cameras": [{"name": "a", "source": "x"}], "gate": {"min_quality": "high"}},
            ("gate.min_quality", "'high'"),
        ),
        ({"cameras": [{"name": "a", "source": "x"}], "gate": {"min_quality": 101}}, ("gate.min_quality", "100")),
        ({"cameras": []}, ("cameras",)),
        ({"cameras": [{"name": "a", "source": "x"}, {"name": "a", "source": "y"}]}, ("unique", "'a'")),
        ({"cameras": [{"name": "a b", "source": "x"}]}, ("cameras[0].name",)),
        ({"cameras": [{"name": "a", "source": "x"}], "delivery": {"bind": "127.0.0.1:5"}}, ("delivery.bind",)),
        (["a"], ("expected keys",)),
    ],
)
def test_a_wrong_configuration_is_refused_with_place_and_remedy(data: object, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        build_config(data)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_passwords_come_from_the_environment_and_a_missing_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"cameras": [{"name": "a", "source": "rtsp://u:${DOOR_PASSWORD}@10.0.0.5/s"}]}
    monkeypatch.delenv("DOOR_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="DOOR_PASSWORD is not set"):
        build_config(data)
    monkeypatch.setenv("DOOR_PASSWORD", "s3cret")
    assert build_config(data).cameras[0].source == "rtsp://u:s3cret@10.0.0.5/s"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://user:s3cret@host:554/x", "rtsp://***@host:554/x"),
        ("rtsp://user:s3@cret@host/x", "rtsp://***@host/x"),
        ("see rtsp://user@host and rtsp://host2", "see rtsp://***@host and rtsp://host2"),
        ("plain text", "plain text"),
    ],
)
def test_urls_are_shown_without_their_user_part(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_a_source_becomes_one_camera_named_after_it(tmp_path: Path) -> None:
    video = tmp_path / "my clip.mp4"
    video.touch()
    assert config_for(video).cameras[0].name == "my_clip"
    assert config_for("rtsp://u:p@host/x").cameras[0].name == "camera"
    assert config_for("0").cameras[0].name == "webcam0"


def test_broken_yaml_and_a_missing_file_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(path)
    path.write_text("cameras: [")
    with pytest.raises(ConfigError, match="not valid YAML near line"):
        load_config(path)
