"""A camera's own events: nothing is decoded before one, everything after, and everything if it tells nothing."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from xml.etree import ElementTree

import pytest
from structlog.testing import capture_logs

from facegate.demo.clip import DemoClip
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.errors import ConfigError
from facegate.pipeline.cameras.onvif_events import (
    LINGER_S,
    PULSE_S,
    CameraEvent,
    OnvifEvents,
    Wakefulness,
    events_of,
)
from facegate.pipeline.config import CameraConfig, build_config
from facegate.pipeline.sources.factory import open_source

from ...helpers import wait_until
from ...onvif_camera import OnvifCamera, notification

MOTION = "tns1:RuleEngine/CellMotionDetector/Motion"


def test_an_event_keeps_the_camera_awake_as_long_as_it_lasts_and_a_little_longer() -> None:
    awake = Wakefulness()
    assert not awake.is_awake(0.0)
    awake.on_event(CameraEvent(MOTION, True), 1.0)
    assert awake.is_awake(500.0)
    awake.on_event(CameraEvent(MOTION, False), 501.0)
    assert awake.is_awake(501.0 + LINGER_S - 0.1) and not awake.is_awake(501.0 + LINGER_S)
    awake.on_event(CameraEvent("tns1:RuleEngine/LineDetector/Crossed", None), 600.0)
    assert awake.is_awake(600.0 + PULSE_S - 0.1) and not awake.is_awake(600.0 + PULSE_S)
    awake.on_event(CameraEvent("tns1:Device/Trigger/DigitalInput", True), 700.0)
    assert not awake.is_awake(700.0), "a relay is nobody"
    awake.on_event(CameraEvent(MOTION, True), 800.0)
    awake.forget()
    assert not awake.is_awake(800.0 + LINGER_S)


@pytest.mark.parametrize(
    ("state", "operation", "expected"),
    [
        ("true", "Changed", [True]),
        ("1", "Initialized", [True]),
        ("false", "Initialized", [False]),
        ("true", "Deleted", [False]),
        (None, "Changed", [None]),
        (None, "Initialized", []),
        ("17", "Changed", [None]),
    ],
)
def test_states_are_read_as_devices_write_them(state: str | None, operation: str, expected: list[object]) -> None:
    answer = ElementTree.fromstring(f"<a>{notification(MOTION, state, operation)}</a>")
    assert [event.state for event in events_of(answer)] == expected


@pytest.fixture
def device() -> Iterator[tuple[OnvifCamera, str]]:
    camera = OnvifCamera({}, login=("viewer", "s3c/r:et"))
    with camera.serving() as address:
        yield camera, f"http://{address}/onvif/device_service"


def config(url: str, source: str = "rtsp://127.0.0.1/none", **more: object) -> CameraConfig:
    return CameraConfig(name="door", source=source, onvif_events=url, user="viewer", password="s3c/r:et", **more)  # type: ignore[arg-type]


def test_events_of_a_device_wake_and_what_cannot_be_reached_leaves_awake(device: tuple[OnvifCamera, str]) -> None:
    camera, url = device
    now = [0.0]
    with OnvifEvents(config(url), lambda: now[0]) as events:
        assert events.is_awake(), "as long as the device has told nothing"
        wait_until(lambda: not events.is_awake(), "the subscription")
        camera.events.put(notification(MOTION, "true"))
        wait_until(events.is_awake, "the event")
        camera.events.put(notification(MOTION, "false"))
        wait_until(camera.events.empty, "the end of the event")
        now[0] += LINGER_S
        wait_until(lambda: not events.is_awake(), "rest")
        now[0] += 26.0
        wait_until(lambda: "Renew" in camera.asked, "the renewal")
        camera.login = ("viewer", "changed")
        with capture_logs() as said:
            wait_until(events.is_awake, "the device to refuse")
            wait_until(lambda: said, "the log")
    assert said[0]["event"] == "no events of the camera, decoding everything"
    assert "credentials" in said[0]["reason"] and "s3c" not in str(said)


def test_nothing_is_decoded_before_an_event_and_everything_after(
    device: tuple[OnvifCamera, str], clip: DemoClip
) -> None:
    camera, url = device
    with RtspServer(Movie(clip.path), loop=True) as server, OnvifEvents(config(url)) as events:
        source = open_source(config(url, server.url), lambda: not events.is_awake())
        stop = Event()
        frames = source.frames(stop)
        next(frames)
        wait_until(lambda: not events.is_awake(), "the subscription")
        seen: list[float] = []

        def woken() -> bool:
            seen.append(next(frames).ref.pts_s)
            return len(seen) > 10

        held = source.packets_idle
        camera.events.put(notification("tns1:RuleEngine/FaceDetector/Face", "true"))
        wait_until(woken, "frames")
        wait_until(events.is_awake)
        stop.set()
        frames.close()  # type: ignore[attr-defined]
    assert source.packets_idle >= held
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"onvif_events": "10.0.0.5"}, "must be an http:// or https:// URL"),
        ({"onvif_events": "http://a:b@10.0.0.5/onvif"}, "must not contain a login"),
        ({"onvif_events": "http://10.0.0.5/onvif", "source": "clip.mp4"}, "needs a source that is a URL"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_config({"cameras": [{"name": "door", "source": "rtsp://10.0.0.5/s"} | settings]}, "a test")
