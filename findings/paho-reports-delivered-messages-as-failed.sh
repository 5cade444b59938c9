#!/usr/bin/env bash
# Packages: paho-mqtt==2.2.0, amqtt==0.12.1 (as the broker)
#
# Behavior: a message of QoS 1 published before the connection is made gets rc 4 (no connection), but is queued and
# sent once the client connects. Its MQTTMessageInfo never learns of it: after the broker has acknowledged the
# message, on_publish has been called with its mid and a subscriber has it, is_published() and wait_for_publish()
# still raise RuntimeError "The client is not currently connected". The same call with QoS 0 gets the same rc and
# is really lost.
#
# Why it matters: a publisher of faces that asks the object it got, as the documentation shows, takes a delivered
# message for failed and sends it again: a second visit, a second notification. Only on_publish tells the truth.
# Expected before the run: is_published() True once the acknowledgment is in.
#
# Seen: rc 4 for both; the subscriber gets the message of QoS 1 once; on_publish for its mid; is_published()
# raises.
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
import threading

from common import Client, broker

with broker():
    watcher, camera = Client("watcher"), Client("camera", connect=False)
    watcher.subscribe("shots/#")
    acknowledged, published = threading.Event(), []

    def on_publish(client, data, mid, reason, properties) -> None:
        published.append(mid)
        acknowledged.set()

    camera.mqtt.on_publish = on_publish
    unsafe = camera.mqtt.publish("shots/door", b"qos 0", 0)
    safe = camera.mqtt.publish("shots/door", b"qos 1", 1)
    assert (unsafe.rc, safe.rc) == (4, 4)
    camera.connect()
    assert acknowledged.wait(10)
    received = watcher.received(1)
    try:
        answer = safe.is_published()
    except RuntimeError as error:
        answer = f"RuntimeError: {error}"
    try:
        safe.wait_for_publish(1)
        waited = "returned"
    except RuntimeError as error:
        waited = f"RuntimeError: {error}"
    print("received:", received, "on_publish for it:", published == [safe.mid])
    print("is_published:", answer, "| wait_for_publish:", waited)
    assert received == [("shots/door", b"qos 1", 1, False)] and published == [safe.mid]
    assert answer.startswith("RuntimeError") and waited.startswith("RuntimeError")
EOF
"$T/venv/bin/python" -W ignore "$T/check.py"
