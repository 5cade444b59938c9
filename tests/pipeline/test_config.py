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


def test_a_camera_keeps_what_it_says_itself_and_no_video_of_what_a_mask_hides() -> None:
    cameras = [
        {"name": "door", "source": "rtsp://10.0.0.5/a"},
        {"name": "yard", "source": "rtsp://10.0.0.6/a", "store": {"scene_px": None, "unknown_days": 1}},
    ]
    config = build_config({"cameras": cameras, "store": {"clip_s": 3, "days": 9}}, "site.yaml")
    assert (config.store_for("door").scene_px, config.store_for("door").clip_s) == (960, 3)
    yard = config.store_for("yard")
    assert (yard.scene_px, yard.unknown_days, yard.days) == (None, 1, 9)
    masked = {"name": "hall", "source": "rtsp://10.0.0.7/a", "mask": [[[0, 0], [1, 0], [1, 1]]]}
    with pytest.raises(ConfigError, match="a clip would show what 'mask' hides"):
        build_config({"cameras": [*cameras, masked], "store": {"clip_s": 3}}, "site.yaml")
    build_config({"cameras": [*cameras, masked | {"store": {"clip_s": 0}}], "store": {"clip_s": 3}}, "site.yaml")
    with pytest.raises(ConfigError, match="a clip would show whom 'blur_others' hides"):
        build_config({"cameras": cameras, "store": {"clip_s": 3, "blur_others": True}}, "site.yaml")
    with pytest.raises(ConfigError, match=r"cameras\[0\].store"):
        build_config({"cameras": [{"name": "a", "source": "rtsp://x", "store": {"scene": 1}}]}, "site.yaml")


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


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"gate": {"min_quality": -1}}, "gate.min_quality: must be at least 0 (got -1)"),
        ({"gate": {"min_quality": 101}}, "gate.min_quality: must be at most 100 (got 101)"),
        ({"gate": {"min_quality": "high"}}, "gate.min_quality: must be a whole number (got 'high')"),
        ({"gate": {"interval_s": 0}}, "gate.interval_s: must be greater than 0 (got 0)"),
        ({"gate": {"interval_s": float("nan")}}, "gate.interval_s: must be a finite number (got nan)"),
        ({"gate": {"target_recall": 1}}, "gate.target_recall: must be less than 1 (got 1)"),
        ({"gate": {"mode": "erly"}}, "gate.mode: must be 'end', 'early' or 'interval' (got 'erly')"),
        ({"gate": {"dry_run": "perhaps"}}, "gate.dry_run: must be true or false (got 'perhaps')"),
        ({"gate": 5}, "gate: must be a group of settings such as 'key: value' (got 5)"),
        ({"delivery": {"spool": {}}}, "delivery.spool.path: is missing"),
        ({"delivery": {"keys": 5}}, "delivery.keys: must be a path (got 5)"),
        ({"cameras": []}, "cameras: must have 1 or more entries"),
        ({"cameras": "door"}, "cameras: must be a list (got 'door')"),
        ({"name": 5}, "cameras[0].name: must be text; put it in quotes if it looks like a number (got 5)"),
        ({"name": "a b"}, "cameras[0].name: must be 1 to 64 letters, digits, '_', '.' or '-' (got 'a b')"),
        ({"source": ""}, "cameras[0].source: must not be empty"),
        ({"user": "a\tb"}, "cameras[0].user: must not contain line breaks or other control characters"),
        ({"max_fps": "x"}, "cameras[0].max_fps: must be a number (got 'x')"),
        ({"mask": [[[0, 0], [1, 1]]]}, "cameras[0].mask[0]: must have 3 or more entries"),
        ({"hosts": ["a"] * 101}, "cameras[0].hosts: must have 100 or fewer entries"),
        ({"gate": {"min_quality": 500}, "name": "a"}, "cameras[0].gate.min_quality: must be at most 100 (got 500)"),
        ({"gate": {"limits": {"yaw": 5}}, "name": "a"}, "cameras[0].gate.limits.yaw: unknown key, "),
        (
            {"gate": {"target_recall": 0.9, "hysteresis": 2}, "name": "a"},
            "cameras[0].gate: target_recall cannot be combined with hysteresis: remove hysteresis",
        ),
    ],
)  # fmt: skip
def test_an_invalid_value_is_described_in_plain_words(section: dict[str, object], message: str) -> None:
    camera = {"name": "a", "source": "x"}
    sections = ("gate", "delivery", "cameras")
    own = "name" in section or not any(key in sections for key in section)
    data = {"cameras": [camera | section]} if own else {"cameras": [camera]} | section
    with pytest.raises(ConfigError) as caught:
        build_config(data)
    assert str(caught.value).startswith(f"configuration: {message}")


def test_secrets_are_not_repeated() -> None:
    output = {"kind": "webhook", "url": "https://example.org", "spool": "w.db", "secret": "short"}
    with pytest.raises(
        ConfigError, match=re.escape("delivery.outputs[0].secret: must have a minimum length of 8")
    ) as caught:
        build_config({"cameras": [{"name": "a", "source": "x"}], "delivery": {"outputs": [output]}})
    assert "short" not in str(caught.value)


RAW = (
    "while parsing",
    "but found",
    "found",
    "token",
    "node",
    "stream",
    "scalar",
    "mapping",
    "constructor",
    "block",
)


@pytest.mark.parametrize(
    "text",
    ["a: [1, 2", "a: [", "a: {b", "a: b: c", "a:\n\t- b", "a: 'x", "a: *x", 'a: "\\q"', "a: !x 1", "a: @x",
     "- a\nb: c", "a: x\x01", "a: |x"],
)  # fmt: skip
def test_broken_yaml_is_described_in_plain_words(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="not valid YAML") as caught:
        load_config(path)
    message = str(caught.value).removeprefix(str(path))
    assert not [word for word in RAW if word in message]
