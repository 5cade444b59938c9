#!/usr/bin/env bash
# Packages: amqtt==0.12.1, paho-mqtt==2.2.0
#
# Behavior: amqtt's broker sends a client that has just connected, and has subscribed to nothing, every retained
# message for which any other client holds a matching subscription: once per such filter, with QoS 0 and the retain
# flag. When it then subscribes, it gets the messages of its own filter in addition.
#
# Why it matters: Home Assistant discovery and camera states are retained messages. Against this broker, a common
# one in Python test suites, a client counts each of them several times, handles topics it did not ask for, and a
# test that waits for "the first message" gets another camera's. Expected before the run: nothing before the first
# SUBSCRIBE.
#
# Seen: two watchers subscribed to cameras/# and cameras/+/state, one retained message: the new client gets two
# copies without subscribing, and a third one after it subscribes.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq amqtt==0.12.1 paho-mqtt==2.2.0
cat > "$T/broker.py" <<'EOF'
import asyncio
import logging
import sys

from amqtt.broker import Broker


async def main() -> None:
    logging.disable(logging.CRITICAL)
    listener = {"default": {"type": "tcp", "bind": f"127.0.0.1:{sys.argv[1]}"}}
    anonymous = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    await Broker({"listeners": listener, "plugins": anonymous}).start()
    print("ready", flush=True)
    await asyncio.sleep(120)


asyncio.run(main())
EOF
cat > "$T/common.py" <<'EOF'
import contextlib
import pathlib
import socket
import subprocess
import sys
import threading
import time

import paho.mqtt.client as mqtt

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    PORT = free.getsockname()[1]


@contextlib.contextmanager
def broker():
    process = subprocess.Popen(
        [sys.executable, str(pathlib.Path(__file__).with_name("broker.py")), str(PORT)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.kill()
        process.wait()


class Client:
    def __init__(self, name: str, clean: bool = True, connect: bool = True) -> None:
        self.got: list[tuple[str, bytes, int, bool]] = []
        self.connected, self.subscribed, self.session_present = threading.Event(), threading.Event(), None
        self.mqtt = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, clean_session=clean)
        self.mqtt.on_message = lambda c, u, m: self.got.append((m.topic, m.payload, m.qos, bool(m.retain)))
        self.mqtt.on_connect = self._on_connect
        self.mqtt.on_subscribe = lambda *_: self.subscribed.set()
        if connect:
            self.connect()

    def _on_connect(self, client, data, flags, reason, properties) -> None:
        self.session_present = flags.session_present
        self.connected.set()

    def connect(self) -> None:
        self.mqtt.connect("127.0.0.1", PORT)
        self.mqtt.loop_start()
        assert self.connected.wait(10)

    def subscribe(self, topic: str) -> None:
        self.subscribed.clear()
        self.mqtt.subscribe(topic, 1)
        assert self.subscribed.wait(10)

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self.mqtt.publish(topic, payload, 1, retain).wait_for_publish(10)

    def received(self, at_least: int) -> list[tuple[str, bytes, int, bool]]:
        """Messages so far: waits for that many, then a second for more."""
        end = time.monotonic() + 10
        while len(self.got) < at_least and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(1)
        return list(self.got)

    def close(self) -> None:
        self.mqtt.disconnect()
        self.mqtt.loop_stop()
EOF
cat > "$T/check.py" <<'EOF'
from common import Client, broker

with broker():
    camera, first, second = Client("camera"), Client("first"), Client("second")
    first.subscribe("cameras/#")
    second.subscribe("cameras/+/state")
    camera.publish("cameras/door/state", b"online", retain=True)
    client = Client("new")
    unasked = client.received(2)
    client.subscribe("cameras/door/state")
    asked = client.received(3)[len(unasked) :]
    print("before it subscribes:", unasked)
    print("after it subscribes:", asked)
    assert unasked == [("cameras/door/state", b"online", 0, True)] * 2
    assert asked == [("cameras/door/state", b"online", 1, True)]
EOF
"$T/venv/bin/python" -W ignore "$T/check.py"
