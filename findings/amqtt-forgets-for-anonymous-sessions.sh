#!/usr/bin/env bash
# Packages: amqtt==0.12.1, paho-mqtt==2.2.0
#
# Behavior: for a client without a user name, amqtt's broker keeps a persistent session (clean_session=False, a
# client id of its own): it answers "session present" at the reconnection, and the subscription is still in force.
# But it queues nothing meanwhile: messages of QoS 1 published while the client was away are acknowledged to the
# publisher and dropped.
#
# Why it matters: a worker that receives faces by MQTT relies on QoS 1 and a persistent session to lose none over a
# restart. Against this broker it loses all of them, although each sign of the protocol (PUBACK, session present)
# says the opposite. A test of that guarantee needs a user name to mean anything. Expected before the run: all are
# delivered.
#
# Seen: session present True; of three messages published meanwhile none arrives; the next one does, without
# SUBSCRIBE.
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
    camera, worker = Client("camera"), Client("worker", clean=False)
    worker.subscribe("shots/#")
    camera.publish("shots/door", b"0")
    assert worker.received(1) == [("shots/door", b"0", 1, False)]
    worker.close()
    for number in (b"1", b"2", b"3"):
        camera.publish("shots/door", number)
    again = Client("worker", clean=False)
    missed = again.received(0)
    camera.publish("shots/door", b"4")
    live = again.received(1)
    print("session present:", again.session_present, "after the reconnection:", missed, "then:", live)
    assert again.session_present is True and missed == []
    assert live == [("shots/door", b"4", 1, False)]
EOF
"$T/venv/bin/python" -W ignore "$T/check.py"
