"""Shots through Mosquitto: what is tested against our own broker holds with the one that people run."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..helpers import PATIENCE_S, free_port, wait_until
from ..sinks import test_mqtt
from ..sinks.test_mqtt import PASSWORD

SBIN = "/usr/sbin/mosquitto"


class Mosquitto:
    """A broker on loopback that knows one user, as :class:`tests.sinks.test_mqtt.Broker`."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"mqtt://gate:p%40ss%20word@127.0.0.1:{self.port}/site"
        users, self._settings = folder / "users", folder / "mosquitto.conf"
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(users), "gate", PASSWORD], check=True)
        self._settings.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {users}\nuser root\n"
        )
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([SBIN, "-c", str(self._settings)], stderr=subprocess.DEVNULL)
        wait_until(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    if not Path(SBIN).exists() or shutil.which("mosquitto_passwd") is None:
        pytest.skip("Mosquitto is not installed: apt-get install mosquitto mosquitto-clients")
    made = Mosquitto(tmp_path)
    yield made
    made.end()


def test_retained_discovery_shots_and_state(broker: Mosquitto, tmp_path: Path) -> None:
    test_mqtt.test_home_assistant_finds_the_camera_its_faces_and_whether_the_gate_is_there(broker, tmp_path)  # type: ignore[arg-type]


def test_last_will_and_a_broker_that_dies(broker: Mosquitto, tmp_path: Path) -> None:
    test_mqtt.test_a_gate_that_is_killed_is_offline_and_a_broker_that_dies_gets_everything_later(broker, tmp_path)  # type: ignore[arg-type]


def test_login(broker: Mosquitto, tmp_path: Path) -> None:
    test_mqtt.test_a_wrong_password_is_said_without_it(broker, tmp_path)  # type: ignore[arg-type]


def test_mosquittos_own_client_hears_the_shots(broker: Mosquitto, tmp_path: Path) -> None:
    command = ["mosquitto_sub", "-p", str(broker.port), "-u", "gate", "-P", PASSWORD, "-t", "site/door/shot"]
    with subprocess.Popen(
        [*command, "-C", "2", "-W", str(PATIENCE_S)], stdout=subprocess.PIPE, text=True
    ) as client:
        sink = test_mqtt.outbox(broker.url, tmp_path)
        heard: list[str] = []
        for number in range(PATIENCE_S):
            sink.put(test_mqtt.entries(number))
            try:
                heard = client.communicate(timeout=1)[0].splitlines()
                break
            except subprocess.TimeoutExpired:
                continue
        sink.close(PATIENCE_S)
    assert len(heard) == 2 and all('"shot_id"' in line for line in heard)
