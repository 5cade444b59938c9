"""Cameras are found with their streams, and the configuration that is written of them runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from threading import Event
from time import monotonic

import pytest
import yaml

from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.demo.rtsp.session import Credentials
from facegate.errors import ConfigError
from facegate.pipeline.config import build_config
from facegate.pipeline.discovery.camera_list import write_cameras
from facegate.pipeline.discovery.finder import discover, expand_hosts
from facegate.pipeline.discovery.records import FoundCamera, StreamProfile, choose_streams
from facegate.pipeline.discovery.ws_discovery import read_answer
from facegate.pipeline.sources.factory import open_source

from ...helpers import facegate, transcode
from ...onvif_camera import OnvifCamera, announcing

LOGIN = ("viewer", "s3c/r:et")
Streams = dict[str, tuple[int, int, str]]


@pytest.fixture(scope="module")
def streams(short_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streams]:
    """Three streams of one camera, as real ones on loopback."""
    folder = tmp_path_factory.mktemp("streams")
    sizes = {"tiny": (160, 90), "main": (640, 360), "sub": (480, 270)}
    with ExitStack() as stack:
        made = {}
        for name, (width, height) in sizes.items():
            movie = Movie(transcode(short_clip, folder / f"{name}.mp4", size=(width, height)))
            server = RtspServer(movie, loop=True, credentials=Credentials(*LOGIN), algorithms=("SHA-256",))
            made[name] = (width, height, f"{stack.enter_context(server).url}?channel=1&subtype={name}")
        yield made


def test_three_devices_are_listed_in_time_and_what_is_written_runs(streams: Streams, tmp_path: Path) -> None:
    """One by host list, with a clock two hours off; one with another password; one that answers slowly."""
    listed = OnvifCamera(streams, serial="A", model="Dome", clock=timedelta(hours=2))
    locked = OnvifCamera(streams, serial="B", login=("viewer", "other"), action="ProbeMatch")
    slow = OnvifCamera(streams, serial="C", model="Dome", delay_s=0.4)
    with listed.serving() as first, locked.serving() as second, slow.serving() as third:
        with announcing(locked, slow) as asked:
            began = monotonic()
            found = {each.address: each for each in discover([first], LOGIN, 5.0, multicast=[asked])}
            took_s = monotonic() - began
        assert set(found) == {first, second, third} and took_s < 5.5
        for address in (first, third):
            camera = found[address]
            assert camera.problem is None and (camera.vendor, camera.model) == ("Acme", "Dome")
            assert camera.main is not None and camera.sub is not None
            assert (camera.main.width, camera.sub.width, camera.main.fps) == (640, 480, 25.0)
            assert camera.main.url == streams["main"][2] and camera.sub.url == streams["sub"][2]
        assert found[first].clock_offset_s == pytest.approx(7200, abs=3)
        assert found[second].problem == f"{second} rejected the credentials: check user and password"
        assert found[second].endpoint == "urn:uuid:B"
        (tmp_path / "password").write_text(LOGIN[1] + "\n")
        lines = write_cameras(tmp_path / "cameras.yaml", list(found.values()), LOGIN[0], tmp_path / "password")
        assert sorted(line.split(": ")[1] for line in lines) == ["added", "added", "not written"]
        config = build_config(yaml.safe_load((tmp_path / "cameras.yaml").read_text()))
        assert [camera.name for camera in config.cameras] == ["Dome", "Dome-2"]
        frames = open_source(config.cameras[0]).frames(Event())
        frame = next(frames)
        assert (frame.image.shape[1], frame.ref.width) in ((480, 640), (480, 480))
        frames.close()  # type: ignore[attr-defined]


def test_a_device_that_states_another_address_and_hides_its_clock_is_asked_where_it_answers(
    streams: Streams,
) -> None:
    camera = OnvifCamera(streams, stated_host="192.168.77.9", hides_clock=True)
    with camera.serving() as address:
        (found,) = discover([address], LOGIN, 5.0, multicast=[])
    assert found.problem is None and found.main is not None and found.main.url == streams["main"][2]


def test_profiles_that_only_the_media_service_2_lists_are_found(streams: Streams) -> None:
    with OnvifCamera(streams, media2=True).serving() as address:
        (found,) = discover([address], LOGIN, 5.0, multicast=[])
    assert found.problem is None and found.main is not None and found.sub is not None
    assert (found.main.encoding, found.main.width, found.sub.width) == ("H265", 640, 480)
    assert found.main.url == streams["main"][2]


def test_a_camera_with_a_new_address_is_found_again_by_its_serial_number(tmp_path: Path) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_text(
        "# mine\ncameras:\n  - name: door  # the front\n    source: rtsp://me:x@10.0.0.5/sub?a=1\n"
        "    main_stream: rtsp://me:x@10.0.0.5:8554/main\n    serial: A\n  - {name: yard, source: rtsp://10.0.0.6/x}\n"
    )
    moved = FoundCamera("10.0.0.9", serial="A", main=StreamProfile("m", url="rtsp://10.0.0.9/main"))
    assert write_cameras(path, [moved], None, None) == ["door: now at 10.0.0.9"]
    text = path.read_text()
    assert "rtsp://me:x@10.0.0.9/sub?a=1" in text and "# the front" in text and "rtsp://10.0.0.6/x" in text
    assert "main_stream: rtsp://me:x@10.0.0.9:8554/main" in text, "its port is as it was"
    assert write_cameras(path, [moved], None, None) == ["door: unchanged"]
    path.write_text("cameras: [")
    with pytest.raises(ConfigError, match="is not a configuration"):
        write_cameras(path, [moved], None, None)


def test_a_camera_without_onvif_is_known_by_its_vendors_paths(short_clip: Path) -> None:
    path = "/cam/realmonitor"
    with RtspServer(Movie(short_clip), credentials=Credentials(*LOGIN), path=path) as server:
        (found,) = discover([f"127.0.0.1:{server.port}"], LOGIN, 5.0, multicast=[])
        assert found.vendor == "Dahua, Amcrest" and found.problem is None and found.main is not None
        assert found.main.url == f"rtsp://127.0.0.1:{server.port}/cam/realmonitor?channel=1&subtype=0"
        (locked,) = discover([f"127.0.0.1:{server.port}"], ("viewer", "wrong"), 5.0, multicast=[])
        assert "rejected the credentials" in str(locked.problem)


ANSWERS = {
    "another action": lambda data: data.replace(b"ProbeMatches</a:Action>", b"ProbeMatch</a:Action>"),
    "no namespace": lambda data: re.sub(rb"(</?)[asd]:", rb"\1", data),
    "cut off": lambda data: data[: data.index(b"</d:ProbeMatch>")],
    "damaged": lambda data: data.replace(b"<s:Header>", b"<s:Header><&>"),
    "several addresses": lambda data: data.replace(
        b"<d:XAddrs>", b"<d:XAddrs>http://[fe80::1]/onvif/device_service http://10.9.9.9/onvif/device_service "
    ),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_every_answer_that_names_an_address_is_read(kind: str) -> None:
    data = ANSWERS[kind](OnvifCamera({}, port=80).probe_match())
    (device,) = read_answer(data, "127.0.0.1")
    assert device.addresses[0] == "http://127.0.0.1:80/onvif/device_service"
    assert device.endpoint == "urn:uuid:SN-1" and device.model == "Model 1"


def test_noise_is_no_device() -> None:
    for data in (b"", b"\xff\x00", b"<a/>", b"<XAddrs>ftp://x</XAddrs>"):
        assert read_answer(data, "127.0.0.1") == []


def test_the_sub_stream_is_the_smallest_that_detection_can_use() -> None:
    profiles = [StreamProfile(str(w), "H264", w, w * 9 // 16) for w in (320, 3840, 1280, 640)]
    main, sub = choose_streams(profiles)
    assert main is profiles[1] and sub is profiles[3]
    assert choose_streams(profiles[:2]) == (profiles[1], profiles[0])
    assert choose_streams(profiles[:1]) == (profiles[0], None) and choose_streams([]) == (None, None)


def test_networks_are_lists_of_hosts_within_limits() -> None:
    assert expand_hosts(["10.0.0.4/30", "door:8000", "10.0.0.5"]) == ["10.0.0.5", "10.0.0.6", "door:8000"]
    for wrong, words in (("10.0.0.0/8", "too many hosts"), ("10.0.0.0/x", "is not a network")):
        with pytest.raises(ConfigError, match=words):
            expand_hosts([wrong])


def test_the_command_lists_cameras_and_says_what_is_wrong(streams: Streams, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(LOGIN[1])
    login = ("--user", LOGIN[0], "--password-file", tmp_path / "password")
    with OnvifCamera(streams, model="Dome").serving() as address:
        told = facegate("discover", address, "--no-multicast", *login, "--write", tmp_path / "c.yaml")
        assert told.returncode == 0 and "Acme Dome" in " ".join(told.stdout.split()), told.stderr
        assert "Dome: added" in told.stderr and LOGIN[1] not in (tmp_path / "c.yaml").read_text()
        refused = facegate("discover", address, "--no-multicast", "--json")
        assert refused.returncode == 1 and "needs a login: set user and password" in refused.stdout
    assert "finds nothing" in facegate("discover", "--no-multicast").stderr
