"""Shots through a real MQTT broker, as Home Assistant would take them; and when the broker dies or says no."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest
import yaml
from paho.mqtt.client import CallbackAPIVersion, Client, MQTTMessage
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from structlog.testing import capture_logs

from facegate.errors import ConfigError
from facegate.pipeline.config import build_config
from facegate.sinks.mqtt import Mqtt, discovery
from facegate.sinks.outbox import Outbox
from facegate.sinks.spool import Spool
from facegate.sinks.wire import ShotHeader, decode_header

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


def outbox(url: str, folder: Path) -> Outbox:
    return Outbox(Mqtt(url), Spool(folder / "s.db"))


def take(heard: Queue[MQTTMessage], count: int) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for _ in range(count):
        message = heard.get(timeout=PATIENCE_S)
        found.setdefault(message.topic, []).append(message.payload)
    return found


def test_home_assistant_finds_the_camera_its_faces_and_whether_the_gate_is_there(
    broker: Broker, tmp_path: Path
) -> None:
    with listening(broker, "site/#") as heard:
        sink = outbox(broker.url, tmp_path)
        sink.put(entries(0, 1, 2))
        found = take(heard, 7)
        report = sink.close(PATIENCE_S)
        gone = heard.get(timeout=PATIENCE_S)
    assert (report.acknowledged, report.undelivered) == (3, 0)
    assert found["site/status"] == [b"online"] and (gone.topic, gone.payload) == ("site/status", b"offline")
    shots = [json.loads(payload) for payload in found["site/door/shot"]]
    assert [shot["shot_id"] for shot in shots] == [entry.shot_id for entry in entries(0, 1, 2)]
    assert found["site/door/crop"] == [entry.crop for entry in entries(0, 1, 2)]
    with listening(broker, "homeassistant/#", "site/#") as later:
        told = take(later, 2)
    assert told["site/status"] == [b"offline"], "faces are not kept at the broker, the state is"
    payload = json.loads(told["homeassistant/device/site_door/config"][0])
    topics = {
        topic for kind in payload["components"].values() for name, topic in kind.items() if name.endswith("_topic")
    }
    assert topics == set(found) and payload["device"]["name"] == "door"


def test_a_gate_that_is_killed_is_offline_and_a_broker_that_dies_gets_everything_later(
    broker: Broker, tmp_path: Path
) -> None:
    code = f"from facegate.sinks.mqtt import Mqtt; import time; Mqtt({broker.url!r}); time.sleep(100)"
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


def test_every_template_reads_what_a_header_has() -> None:
    """Home Assistant says nothing where a template names a field that is not there."""
    header = decode_header(entries(0)[0].header)
    for _, kind in discovery("facegate", "door", True)[1]["components"].items():
        for name, template in kind.items():
            if name.endswith("_template"):
                fields = [part.split("}")[0].split(",")[0].strip() for part in template.split("value_json.")[1:]]
                assert fields and all(has(header, field.split(".")) for field in fields), template


def has(header: ShotHeader, path: list[str]) -> bool:
    value: object = header
    for name in path:
        value = getattr(value, name.split(" ")[0])
    return True


def test_names_become_identifiers_that_stay_different() -> None:
    devices = {discovery("facegate", camera, False)[0] for camera in ("a.b", "a_b", "a-b", "tür")}
    assert len(devices) == 4 and all(device.replace("_", "").replace("-", "").isascii() for device in devices)


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("http://x", "a mqtt goes to"),
        ("mqtt://10.0.0.5", "use mqtts://"),
        ("mqtt://", "a mqtt goes to"),
        ("mqtts://x/+/a", "topic"),
        ("mqtts://x:99999", "port out of range"),
        ("mqtts://x:abc", "port could not be"),
    ],
)
def test_an_address_that_is_wrong_or_not_encrypted_is_refused(to: str, words: str) -> None:
    other = {"kind": "mqtt", "to": to, "spool": "a.db"}
    with pytest.raises(ConfigError, match=words):
        build_config({"cameras": [{"name": "a", "source": "0"}], "delivery": {"others": [other]}})
