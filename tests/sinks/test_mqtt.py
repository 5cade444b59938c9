"""Shots through a real MQTT broker, as Home Assistant would take them; and when the broker dies or says no."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Event
from typing import Any

import pytest
import yaml
from msgspec import to_builtins
from paho.mqtt.client import CallbackAPIVersion, Client, MQTTMessage
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from structlog.testing import capture_logs

from facegate.errors import ConfigError
from facegate.pipeline.config import build_config
from facegate.sinks.base import CameraStatus
from facegate.sinks.mqtt.discovery import ATTRIBUTES, camera_announcement, camera_id, readable
from facegate.sinks.mqtt.shots import Mqtt
from facegate.sinks.spool import Spool
from facegate.sinks.spooled_sink import SpooledSink
from facegate.sinks.wire import decode_header

from ..helpers import PATIENCE_S, free_port, wait_until
from .test_wire import entries

PASSWORD = "p@ss word"


class Broker:
    """An MQTT broker on loopback that knows one user."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"mqtt://gate:p%40ss%20word@127.0.0.1:{self.port}/site"
        (folder / "users").write_text(f"gate:{PasswordHash((Argon2Hasher(),)).hash(PASSWORD)}\n")
        settings = {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}},
            "plugins": {
                "amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(folder / "users")},
            },
        }
        self._settings = folder / "broker.yaml"
        self._settings.write_text(yaml.safe_dump(settings))
        self.start()

    def start(self) -> None:
        program = Path(sys.executable).parent / "amqtt"
        self.process = subprocess.Popen([program, "-c", self._settings], stderr=subprocess.DEVNULL)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    yield made
    made.end()


@contextmanager
def listening(broker: Broker, *topics: str) -> Iterator[Queue[MQTTMessage]]:
    """What Home Assistant would be told."""
    heard: Queue[MQTTMessage] = Queue()
    ready: Queue[bool] = Queue()
    client = Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set("gate", PASSWORD)
    client.on_connect = lambda *_: client.subscribe([(topic, 1) for topic in topics])
    client.on_subscribe = lambda *_: ready.put(True)
    client.on_message = lambda _client, _data, message: heard.put(message)
    client.reconnect_delay_set(1, 1)
    client.connect_async("127.0.0.1", broker.port)
    client.loop_start()
    ready.get(timeout=PATIENCE_S)
    yield heard
    client.disconnect()
    client.loop_stop()


def outbox(url: str, folder: Path, **settings: Any) -> SpooledSink:
    spool = Spool(folder / "s.db")
    return SpooledSink(Mqtt(url, spool, **settings), spool)


def told(broker: Broker, *topics: str) -> dict[str, bytes]:
    """What the broker keeps below these topics."""
    with listening(broker, *topics, "end") as heard:
        say(broker, "end", b"")
        found: dict[str, bytes] = {}
        while (message := heard.get(timeout=PATIENCE_S)).topic != "end":
            found[message.topic] = message.payload
    return found


def say(broker: Broker, topic: str, payload: bytes, *, retain: bool = False) -> None:
    client, connected, published = Client(CallbackAPIVersion.VERSION2), Event(), Event()
    client.username_pw_set("gate", PASSWORD)
    client.on_connect = lambda *_: connected.set()
    client.on_publish = lambda *_: published.set()
    client.reconnect_delay_set(1, 1)
    client.connect_async("127.0.0.1", broker.port)
    client.loop_start()
    assert connected.wait(PATIENCE_S)
    client.publish(topic, payload, qos=1, retain=retain)
    # wait_for_publish() raises if the connection is lost just then, though the message is sent with the next one.
    assert published.wait(PATIENCE_S)
    client.disconnect()
    client.loop_stop()


def states(**cameras: str) -> dict[str, CameraStatus]:
    return {camera: CameraStatus(state) for camera, state in cameras.items()}


def take(heard: Queue[MQTTMessage], count: int) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for _ in range(count):
        message = heard.get(timeout=PATIENCE_S)
        found.setdefault(message.topic, []).append(message.payload)
    return found


def test_home_assistant_finds_the_camera_its_faces_and_whether_the_gate_is_there(
    broker: Broker, tmp_path: Path
) -> None:
    with listening(broker, "site/#", "homeassistant/#") as heard:
        sink = outbox(broker.url, tmp_path, context=True, console="https://console.lan:8600/")
        sink.cameras(states(door="live", hall="stalled"), complete=True)
        announced = {(message := heard.get(timeout=PATIENCE_S)).topic: message.payload for _ in range(5)}
        sink.put(entries(0, 1, 2))
        found = take(heard, 9)
        report = sink.close(PATIENCE_S)
        gone = heard.get(timeout=PATIENCE_S)
    assert (report.acknowledged, report.undelivered) == (3, 0)
    assert announced["site/status"] == b"online" and (gone.topic, gone.payload) == ("site/status", b"offline")
    assert json.loads(announced["site/hall/state"]) == {"state": "stalled", "problem": None}
    shots = [json.loads(payload) for payload in found["site/door/shot"]]
    assert [shot["shot_id"] for shot in shots] == [entry.shot_id for entry in entries(0, 1, 2)]
    assert found["site/door/crop"] == [entry.crop for entry in entries(0, 1, 2)]
    kept = told(broker, "homeassistant/#", "site/#")
    assert kept == announced | {
        "site/status": b"offline",
        "site/door/crop": entries(2)[0].crop,
        "site/door/quality": found["site/door/quality"][-1],
    }
    payload = json.loads(kept["homeassistant/device/site_door/config"])
    device = payload["device"]
    assert (device["name"], device["model"]) == ("door", "Camera") and device["sw_version"]
    assert device["configuration_url"] == "https://console.lan:8600/"
    topics = set()
    for component in payload["components"].values():
        topics |= {topic for name, topic in component.items() if name.endswith("_topic")}
        topics |= {entry["topic"] for entry in component["availability"]}
    assert topics == {*found, "site/status", "site/door/state", "site/door/context"}


def test_shots_are_metadata_of_onvif_where_that_is_asked_for(broker: Broker, tmp_path: Path) -> None:
    """Topic and payload as in the Analytics Service Specification; values as ``metadatastream.xsd`` has them."""
    topic = "site/onvif-mj/VideoAnalytics/door/facegate"
    with listening(broker, "site/onvif-mj/#") as heard:
        sink = outbox(broker.url, tmp_path, onvif_metadata=True)
        sink.put(entries(0))
        found = take(heard, 1)
        sink.close(PATIENCE_S)
    (frame,) = json.loads(found[topic][0])["Frame"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", frame["@UtcTime"])
    (face,) = frame["Object"]
    assert face["@ObjectId"] == decode_header(entries(0)[0].header).track_id
    (kind,) = face["Appearance"]["Class"]["Type"]
    assert kind["#text"] == "HumanFace" and 0 <= kind["@Likelihood"] <= 1
    # The box (1, 2, 60, 80) of a picture of 640 by 480.
    box, center = (face["Appearance"]["Shape"][name] for name in ("BoundingBox", "CenterOfGravity"))
    assert [box[f"@{side}"] for side in ("left", "right")] == pytest.approx([-0.99688, -0.8125], abs=1e-4)
    assert [box[f"@{side}"] for side in ("top", "bottom")] == pytest.approx([0.99167, 0.66667], abs=1e-4)
    assert box["@left"] < center["@x"] < box["@right"] and box["@bottom"] < center["@y"] < box["@top"]


def test_a_broker_that_is_to_keep_no_faces_keeps_none(broker: Broker, tmp_path: Path) -> None:
    sink = outbox(broker.url, tmp_path, retain=False)
    sink.cameras(states(door="live"), complete=True)
    sink.put(entries(0))
    assert sink.close(20.0).acknowledged == 1
    assert set(told(broker, "site/#")) == {"site/door/state", "site/status"}


def test_cameras_that_are_gone_are_cleared_also_by_the_next_process(broker: Broker, tmp_path: Path) -> None:
    sink = outbox(broker.url, tmp_path)
    sink.cameras(states(door="live", hall="live", yard="live"), complete=True)
    sink.put(entries(0))
    for topic in ("homeassistant/device/site_door_names/config", "site/door/presence", "site/door/person"):
        say(broker, topic, b"a worker's", retain=True)
    wait_until(lambda: sink.report().acknowledged == 1)
    sink.cameras(states(door="live", hall="live"), complete=True)
    wait_until(lambda: "site/yard/state" not in told(broker, "site/#"))
    sink.close(0.0)
    assert "homeassistant/device/site_yard/config" not in told(broker, "homeassistant/#")
    sink = outbox(broker.url, tmp_path)  # 'door' was renamed meanwhile
    sink.cameras(states(front="connecting", hall="connecting"), complete=True)
    wait_until(lambda: json.loads(told(broker, "site/removed").get("site/removed", b"[]")) == ["yard", "door"])
    kept = {topic for topic in told(broker, "homeassistant/#", "site/#") if "front" not in topic}
    assert kept == {
        "homeassistant/device/site_hall/config", "site/hall/state", "site/removed", "site/status",
    }  # fmt: skip
    sink.close(0.0)


def test_of_a_camera_that_another_gate_of_the_fleet_has_nothing_is_cleared_or_told(
    broker: Broker, tmp_path: Path
) -> None:
    sink = outbox(broker.url, tmp_path)
    sink.cameras(states(door="live", hall="live"), complete=False)
    wait_until(lambda: "site/hall/state" in told(broker, "site/#"))
    sink.cameras(states(hall="live"), complete=False)
    say(broker, "site/door/state", b"another gate's", retain=True)
    with listening(broker, "site/hall/state") as heard:
        heard.get(timeout=PATIENCE_S)
        say(broker, "homeassistant/status", b"online")
        heard.get(timeout=PATIENCE_S)
    kept = told(broker, "homeassistant/#", "site/#")
    assert kept["site/door/state"] == b"another gate's" and "homeassistant/device/site_door/config" in kept
    sink.close(0.0)


def test_everything_is_there_again_when_the_broker_forgot_it_or_home_assistant_starts(
    broker: Broker, tmp_path: Path
) -> None:
    sink = outbox(broker.url, tmp_path)
    sink.cameras(states(door="live", hall="live"), complete=True)
    sink.put(entries(0))
    wait_until(lambda: sink.report().acknowledged == 1)
    before = told(broker, "homeassistant/#", "site/#")
    broker.end()  # and it keeps nothing
    sink.cameras(states(door="live", hall="failed"), complete=True)
    broker.start()
    with listening(broker, "site/status") as heard:
        assert heard.get(timeout=PATIENCE_S).payload == b"online"
    expected = before | {"site/hall/state": b'{"state":"failed","problem":null}'}
    assert len(expected) == 7 and told(broker, "homeassistant/#", "site/#") == expected
    with listening(broker, "site/door/+", "homeassistant/device/+/config") as heard:
        take(heard, 5)  # as kept
        say(broker, "homeassistant/status", b"online")
        again = {(message := heard.get(timeout=PATIENCE_S)).topic: message.payload for _ in range(5)}
    assert again.items() <= expected.items()
    sink.close(0.0)


def test_a_device_that_home_assistant_did_not_see_go_is_shown_to_it_and_taken_away(
    broker: Broker, tmp_path: Path
) -> None:
    topic = "homeassistant/device/site_yard/config"
    sink = outbox(broker.url, tmp_path)
    with listening(broker, topic) as heard:
        sink.cameras(states(yard="live"), complete=True)
        first = heard.get(timeout=PATIENCE_S).payload
        sink.cameras(states(door="live"), complete=True)
        assert heard.get(timeout=PATIENCE_S).payload == b""
        say(broker, "homeassistant/status", b"online")
        assert [heard.get(timeout=PATIENCE_S).payload for _ in range(2)] == [first, b""]
    assert not told(broker, topic)
    sink.close(0.0)


def test_a_restarted_gate_does_not_call_a_camera_live_before_it_is(broker: Broker, tmp_path: Path) -> None:
    sink = outbox(broker.url, tmp_path)
    sink.cameras(states(door="live"), complete=True)
    wait_until(lambda: b"live" in told(broker, "site/door/state").get("site/door/state", b""))
    sink.close(0.0)
    sink = outbox(broker.url, tmp_path)
    with listening(broker, "site/status") as heard:
        while heard.get(timeout=PATIENCE_S).payload != b"online":
            pass
    assert json.loads(told(broker, "site/door/state")["site/door/state"])["state"] == "connecting"
    sink.close(0.0)


def test_a_gate_that_is_killed_is_offline_and_a_broker_that_dies_gets_everything_later(
    broker: Broker, tmp_path: Path
) -> None:
    code = f"from facegate.sinks.mqtt.shots import Mqtt; import time; Mqtt({broker.url!r}); time.sleep(100)"
    with listening(broker, "site/status") as heard:
        gate = subprocess.Popen([sys.executable, "-c", code])
        assert heard.get(timeout=PATIENCE_S).payload == b"online"
        gate.kill()
        gate.wait()
        assert heard.get(timeout=PATIENCE_S).payload == b"offline"
    sink = outbox(broker.url, tmp_path)
    sink.put(entries(0))
    wait_until(lambda: sink.report().acknowledged == 1)
    broker.end()
    sink.put(entries(1, 2))
    broker.start()
    with listening(broker, "site/door/shot") as heard:
        sink.put(entries(3))
        report = sink.close(PATIENCE_S)
        assert (report.acknowledged, report.undelivered) == (4, 0)
        assert json.loads(heard.get(timeout=PATIENCE_S).payload)["shot_id"]


def test_a_wrong_password_is_said_without_it(broker: Broker, tmp_path: Path) -> None:
    with listening(broker, "site/#"), capture_logs() as said:
        sink = outbox(broker.url.replace("word", "w0rd"), tmp_path)
        sink.put(entries(0))
        wait_until(lambda: said)
        report = sink.close(0.0)
    assert report.kept == 1 and "refuses the connection: not authorized" in said[0]["reason"]
    assert "w0rd" not in str(said) + str(report)


def test_every_template_reads_what_is_there() -> None:
    """Home Assistant says nothing where a template names a field that is not there."""
    header = to_builtins(decode_header(entries(0)[0].header))
    payloads = {
        "shot": header,
        "quality": {"value": 1} | {name: header[name] for name in ATTRIBUTES},
        "state": to_builtins(CameraStatus("live")),
    }
    components = camera_announcement("site", "door", "site/status", context=True)["components"]
    for component in components.values():
        templates = [
            (component["state_topic"], template)
            for name, template in component.items()
            if name.endswith("_template")
        ]
        templates += [
            (entry["topic"], entry["value_template"])
            for entry in component["availability"]
            if "value_template" in entry
        ]
        for topic, template in templates:
            for path in re.findall(r"value_json\.([\w.]+)", template):
                value: Any = payloads[topic.rpartition("/")[2]]
                for part in path.split("."):
                    value = value[part]


def test_names_become_identifiers_that_stay_different_and_are_shown_as_people_write_them() -> None:
    devices = {camera_id("facegate", camera) for camera in ("a.b", "a_b", "a-b", "tür")}
    assert len(devices) == 4 and all(device.replace("_", "").replace("-", "").isascii() for device in devices)
    assert [readable(name) for name in ("Lin-Manuel_Miranda", "Ann Smith", "_")] == [
        "Lin-Manuel Miranda", "Ann Smith", "_",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("http://x", "the URL of a mqtt output"),
        ("mqtt://10.0.0.5", "use mqtts://"),
        ("mqtt://", "the URL of a mqtt output"),
        ("mqtts://x/+/a", "topic"),
        ("mqtts://x:99999", "the port from 1 to 65535"),
        ("mqtts://x:abc", "the port from 1 to 65535"),
    ],
)
def test_an_address_that_is_wrong_or_not_encrypted_is_refused(to: str, words: str) -> None:
    other = {"kind": "mqtt", "url": to, "spool": "a.db"}
    with pytest.raises(ConfigError, match=words):
        build_config({"cameras": [{"name": "a", "source": "0"}], "delivery": {"outputs": [other]}})


@pytest.mark.parametrize("console", ["console.lan", "ftp://console.lan", "https://me:secret@console.lan"])
def test_a_console_that_is_no_page_is_refused(console: str) -> None:
    other = {"kind": "mqtt", "url": "mqtts://x", "spool": "a.db", "console": console}
    with pytest.raises(ConfigError, match="without a login"):
        build_config({"cameras": [{"name": "a", "source": "0"}], "delivery": {"outputs": [other]}})
