"""What Home Assistant shows of cameras and people, through the death and return of everything involved."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer

from ..helpers import facegate, free_port, process, transcode
from .hass import INSTALLED, HomeAssistant, wait_for

CONSOLE = "https://console.example.org/"
HALL, DOOR = "hall", "front.door"


@pytest.fixture(autouse=True)
def installed() -> None:
    if not list(INSTALLED.glob(".ready-*")):
        pytest.skip("Home Assistant is not installed: make homeassistant")


class Setup:
    """Broker, Home Assistant, gate, worker and camera, each of which ends and starts."""

    def __init__(self, folder: Path, data: Path, stack: ExitStack) -> None:
        self._folder, self._data, self._stack = folder, data, stack
        self.movie = Movie(transcode(data / "clips" / "0490_03_007_bill_gates.avi", folder / "gates.mp4"))
        self.camera_port, self.broker_port = free_port(), free_port()
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        self.gallery = folder / "people.db"
        embedder = data / "models" / "mobilefacenet-y1.onnx"
        self._embedder = ["--embedder", embedder]
        self._detector = ["--detector", "yunet", "--detector-path", data / "models" / "yunet_n_640_640.onnx"]
        for name in ("Bill_Gates", "Lin-Manuel_Miranda"):
            photos = [data / "photos" / name, "--name", name]
            facegate("gallery", "add", self.gallery, *photos, *self._embedder, *self._detector)
        listed = facegate("gallery", "list", self.gallery).stdout
        assert "Bill_Gates" in listed and "Lin-Manuel_Miranda" in listed, listed
        self.hass = HomeAssistant(self.broker_port)
        stack.callback(self.hass.remove)
        self._processes: dict[str, Any] = {}
        self.configure(HALL, DOOR)

    def configure(self, *cameras: str) -> None:
        """The first is the one that somebody serves."""
        lines = [
            f"  - {{name: {name}, source: 'rtsp://127.0.0.1:{self.camera_port}/live'}}" for name in cameras[:1]
        ]
        lines += [f"  - {{name: {name}, source: 'rtsp://127.0.0.1:9/live'}}" for name in cameras[1:]]
        (self._folder / "gate.yaml").write_text(
            "cameras:\n" + "\n".join(lines) + "\ngate: {min_quality: 0}\n"
            f"delivery:\n  bind: {self.endpoint}\n  context_px: 320\n  outputs:\n"
            f"    - {{kind: mqtt, url: 'mqtt://127.0.0.1:{self.broker_port}', spool: {self._folder}/mqtt.db,"
            f" console: '{CONSOLE}'}}\n"
        )

    def broker(self) -> subprocess.Popen[bytes]:
        """Mosquitto, which keeps nothing when it ends."""
        settings = self._folder / "mosquitto.conf"
        settings.write_text(f"listener {self.broker_port} 127.0.0.1\nallow_anonymous true\nuser root\n")
        broker = subprocess.Popen(["/usr/sbin/mosquitto", "-c", settings], stderr=subprocess.DEVNULL)
        self._stack.callback(broker.kill)
        wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", self.broker_port)) == 0, "no broker")
        return broker

    @contextmanager
    def camera(self) -> Iterator[None]:
        with RtspServer(self.movie, loop=True, port=self.camera_port):
            yield

    def gate(self) -> subprocess.Popen[str]:
        return self._stack.enter_context(process("run", self._folder / "gate.yaml", *self._detector))

    def worker(self) -> subprocess.Popen[str]:
        options = [
            "--publish", f"mqtt://127.0.0.1:{self.broker_port}", "--presence", "Bill_Gates", "--presence",
            "Lin-Manuel_Miranda", "--console", CONSOLE, "--spool-dir", self._folder / "names",
            "--output", "/dev/null",
        ]  # fmt: skip
        return self._stack.enter_context(
            process(
                "recognize", "--gallery", self.gallery, "--connect", self.endpoint, *self._embedder,
                *self._detector, *options,
            )
        )  # fmt: skip

    def shows(self, entity: str, *states: str | None) -> None:
        """Wait until Home Assistant shows one of these."""
        wait_for(
            lambda: self.hass.state(entity) in states,
            f"{entity} is not {states}",
            more=lambda: f"but {self.hass.state(entity)}: {sorted(self.hass.states())}",
        )

    def pictures(self) -> dict[str, bytes]:
        """Pictures that outlive restarts."""
        return {
            "face": self.hass.image("image.hall_last_face"),
            "picture": self.hass.image("image.hall_last_picture"),
        }


def kill(process: subprocess.Popen[Any]) -> None:
    process.kill()
    process.wait()


@pytest.fixture
def everything(tmp_path: Path, data: Path) -> Iterator[Setup]:
    if not Path("/usr/sbin/mosquitto").exists():
        pytest.skip("Mosquitto is not installed: apt-get install mosquitto")
    with ExitStack() as stack:
        yield Setup(tmp_path, data, stack)


def test_home_assistant_shows_what_is_there_whatever_restarts(everything: Setup) -> None:
    it, hass = everything, everything.hass
    broker = it.broker()
    hass.start()

    # Announced at the start, before anybody has come; a camera that nobody reaches is shown as that.
    gate = it.gate()
    it.shows("binary_sensor.hall_connection", "off")
    it.shows("binary_sensor.front_door_connection", "off")
    it.shows("sensor.front_door_face_quality", "unavailable")
    device = hass.devices()[HALL]
    assert device["model"] == "Camera" and device["sw_version"] and device["configuration_url"] == CONSOLE

    # Somebody comes.
    worker = it.worker()
    it.shows("binary_sensor.lin_manuel_miranda_presence", "off")
    with it.camera():
        it.shows("binary_sensor.hall_connection", "on")
        it.shows("binary_sensor.bill_gates_presence", "on")
        it.shows("binary_sensor.hall_somebody", "on")
        it.shows("sensor.hall_last_person", "Bill Gates")
        names = {entity: state["attributes"]["friendly_name"] for entity, state in hass.states().items()}
        assert names["binary_sensor.lin_manuel_miranda_presence"] == "Lin-Manuel Miranda presence"
        assert hass.devices()["Bill Gates"]["model"] == "Person"
        wait_for(lambda: it.pictures()["face"][:2] == b"\xff\xd8", "no picture of a face")

    # The camera dies, and so everybody is gone.
    it.shows("binary_sensor.hall_connection", "off")
    it.shows("image.hall_last_face", "unavailable")
    it.shows("binary_sensor.bill_gates_presence", "off")
    it.shows("binary_sensor.hall_somebody", "off")
    it.shows("sensor.hall_last_person", "Bill Gates")

    # It is back, and things die; what was known stays known.
    with it.camera():
        it.shows("binary_sensor.bill_gates_presence", "on")
        hass.stop()
        hass.start()
        it.shows("binary_sensor.hall_connection", "on")
        it.shows("binary_sensor.bill_gates_presence", "on")
        it.shows("binary_sensor.front_door_connection", "off")
        it.shows("sensor.hall_last_person", "Bill Gates")
        assert it.pictures()["face"][:2] == it.pictures()["picture"][:2] == b"\xff\xd8"

        kill(worker)
        it.shows("binary_sensor.hall_somebody", "unavailable")
        it.shows("binary_sensor.lin_manuel_miranda_presence", "unavailable")
        worker = it.worker()
        it.shows("sensor.hall_last_person", "Bill Gates")
        it.shows("binary_sensor.lin_manuel_miranda_presence", "off")

        kill(gate)
        it.shows("binary_sensor.hall_connection", "unavailable")
        it.shows("image.hall_last_face", "unavailable")
        gate = it.gate()
        it.shows("binary_sensor.hall_connection", "on")
        it.shows("binary_sensor.bill_gates_presence", "on")
        it.shows("sensor.hall_last_person", "Bill Gates")
        wait_for(lambda: it.hass.state("sensor.hall_face_quality") not in ("unavailable", "unknown"), "no quality")

    # Nothing new comes from now on: what is shown was remembered.
    it.shows("binary_sensor.hall_connection", "off")
    it.shows("binary_sensor.hall_somebody", "off")
    kill(broker)
    it.shows("binary_sensor.hall_connection", "unavailable")
    broker = it.broker()
    it.shows("binary_sensor.hall_connection", "off")
    it.shows("sensor.hall_last_person", "Bill Gates")
    it.shows("binary_sensor.bill_gates_presence", "off")
    hass.stop()
    hass.start()
    it.shows("binary_sensor.hall_connection", "off")
    it.shows("sensor.hall_last_person", "Bill Gates")

    # A camera is renamed while everything runs, another goes while Home Assistant does not; so does a person.
    it.configure("lobby", DOOR)
    gate.send_signal(signal.SIGHUP)
    it.shows("binary_sensor.lobby_connection", "off")
    wait_for(lambda: HALL not in hass.devices(), "the old name of a camera stays")
    assert not [entity for entity in hass.states() if "hall" in entity]
    hass.stop()
    it.configure("lobby")
    gate.send_signal(signal.SIGHUP)
    renamed = facegate("gallery", "rename", it.gallery, "Bill_Gates", "William")
    assert renamed.returncode == 0, renamed.stderr
    hass.start()
    wait_for(
        lambda: set(hass.devices()) == {"lobby", "Lin-Manuel Miranda"},
        "what was removed meanwhile stays",
        more=lambda: str(sorted(hass.devices())),
    )
    assert not hass.complaints()
