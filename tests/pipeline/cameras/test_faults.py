"""Bad input of every kind: a clear line each, no crash, no hang, nobody else affected."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from threading import Event
from time import sleep

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from facegate.demo.clip import DemoClip
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.demo.rtsp.session import Credentials
from facegate.errors import ConfigError, SourceError
from facegate.pipeline.addresses import redact
from facegate.pipeline.config import CameraConfig, RunConfig, build_config
from facegate.pipeline.sources.factory import open_source

from ...camera_faults import Faults
from ...fault_proxy import FaultProxy
from ...helpers import PATIENCE_S, facegate, free_port, process, wait_for_line, wait_until
from ..life import config, running


def damaged_files(clip: Path, folder: Path, count: int) -> list[Path]:
    """Copies of a clip that are cut short, overwritten in places, bit-flipped, or no video at all."""
    whole, random, files = clip.read_bytes(), Random(0), []
    for index in range(count):
        data = bytearray(whole)
        match index % 5:
            case 0:
                data = data[: random.randrange(len(data))]
            case 1:
                start = random.randrange(len(data))
                data[start : start + 5000] = random.randbytes(5000)
            case 2:
                for _ in range(200):
                    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
            case 3:
                data = bytearray(random.randbytes(random.randrange(1, 20_000)))
            case _:
                data = data[random.randrange(len(data)) :]
        files.append(folder / f"damaged-{index:02d}.mp4")
        files[-1].write_bytes(data)
    return files


def test_fifty_damaged_files_end_with_a_clear_line_each(short_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    files = damaged_files(short_clip, tmp_path, 50)
    cameras = [{"name": file.stem, "source": str(file), "max_fps": 1} for file in files]
    site = {
        "cameras": cameras,
        "scorer": {"weights": str(tiny_model)},
        "delivery": {"bind": f"tcp://127.0.0.1:{free_port()}", "linger_s": 0},
    }
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site))
    result = facegate("run", tmp_path / "site.yaml")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    lines = result.stderr.splitlines()
    for file in files:
        told = [line for line in lines if f"camera={file.stem}" in line and ("ended" in line or "failed" in line)]
        assert len(told) == 1, (file.stem, told)
        assert "frames=" in told[0] or "reason=" in told[0]


def test_a_stalled_a_garbled_and_an_unauthorized_camera_do_not_touch_the_fourth(
    clip: DemoClip, tiny_model: Path
) -> None:
    movie = Movie(clip.path)
    with (
        RtspServer(movie, loop=True) as good,
        RtspServer(movie, loop=True, playback=Faults(stall_at_s=1.0)) as stalls,
        RtspServer(movie, loop=True, playback=Faults(corrupt=1.0)) as garbles,
        RtspServer(movie, credentials=Credentials("me", "right")) as locked,
        running(config(good.url, stalls.url, garbles.url, locked.url, weights=tiny_model)) as runner,
    ):
        wait_until(lambda: all(camera.problem for camera in runner.report().cameras[1:]))
        begun = runner.report().cameras[0]
        (watch,) = good.watches
        sent = watch.pictures

        def seen() -> int:
            now = runner.report().cameras[0]
            return now.frames_received + now.packets_skipped - begun.frames_received - begun.packets_skipped

        wait_until(lambda: watch.pictures >= sent + 50)
        wait_until(lambda: seen() >= 50, "all that the server has sent since")
        assert runner.report().cameras[0].reconnects == 0 and good.watches == [watch]


def test_a_connection_that_is_reset_comes_back_and_every_loss_is_told(clip: DemoClip, tiny_model: Path) -> None:
    with RtspServer(Movie(clip.path), loop=True) as server, FaultProxy(server.port) as proxy:
        url = f"rtsp://127.0.0.1:{proxy.port}/live"
        with capture_logs() as logs, running(config(url, weights=tiny_model)) as runner:
            for reset in range(3):
                wait_until(lambda reset=reset: runner.report().cameras[0].reconnects == reset)  # type: ignore[misc]
                got = runner.report().cameras[0].frames_received
                wait_until(lambda got=got: runner.report().cameras[0].frames_received > got + 5)  # type: ignore[misc]
                proxy.reset()
            wait_until(lambda: runner.report().cameras[0].reconnects == 3)
    assert sum(entry["event"].startswith("camera lost") for entry in logs) >= 3


@contextmanager
def silent_server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_camera_that_says_nothing_holds_up_nobody_when_it_goes(clip: DemoClip, tiny_model: Path) -> None:
    with RtspServer(Movie(clip.path), loop=True) as good, silent_server() as quiet:

        def cameras(**urls: str) -> RunConfig:
            found = tuple(CameraConfig(name=name, source=url, timeout_s=3.0) for name, url in urls.items())
            return config(good.url, weights=tiny_model).model_copy(update={"cameras": found})

        def live(name: str) -> bool:
            return any(camera.camera == name and camera.state == "live" for camera in runner.report().cameras)

        silent = f"rtsp://127.0.0.1:{quiet.getsockname()[1]}/live"
        with running(cameras(dead=silent, door=good.url)) as runner:
            wait_until(lambda: live("door"))
            runner.reload(cameras(door=good.url, hall=good.url))
            assert "dead" in runner.active_cameras(), "FFmpeg waits for it"
            runner.reload(cameras(dead=good.url, door=good.url, hall=good.url, yard=good.url))
            wait_until(lambda: all(map(live, ("dead", "door", "hall", "yard"))))
            assert [camera.camera for camera in runner.report().cameras].count("dead") == 1


@pytest.mark.parametrize("state", ["connecting", "stalled", "unauthorized", "waiting", "loading"])
def test_ctrl_c_ends_the_run_at_once_in_every_other_state_than_live(
    state: str, clip: DemoClip, tiny_model: Path
) -> None:
    movie = Movie(clip.path)
    faults = Faults(stall_at_s=0.5) if state == "stalled" else None
    locked = Credentials("me", "right") if state == "unauthorized" else None
    with RtspServer(movie, loop=True, playback=faults, credentials=locked) as server, silent_server() as silent:
        url = {
            "connecting": f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x",
            "waiting": f"rtsp://127.0.0.1:{free_port()}/x",
        }.get(state, server.url)
        bind = f"tcp://127.0.0.1:{free_port()}"
        with process("run", url, "--weights", tiny_model, "--bind", bind) as gate:
            if state == "connecting":
                asking, _ = silent.accept()
            elif state == "loading":
                sleep(1.0)
            else:
                wait_for_line(gate, "camera live" if state == "stalled" else "camera unreachable")
                sleep(1.5 if state == "stalled" else 0.0)
            gate.send_signal(signal.SIGINT)
            gate.wait(PATIENCE_S)
            if state == "connecting":
                asking.close()
            assert gate.returncode in ((130, -signal.SIGINT) if state == "loading" else (130,))


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
TREE = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
)
KEYS = ("cameras", "detector", "tracker", "scorer", "gate", "delivery")
FIELDS = ("name", "source", "gate", "mask", "search", "max_fps", "min_quality", "people", "kind", "bind", "spool")


@given(
    st.dictionaries(
        st.sampled_from(KEYS) | st.text(max_size=8),
        TREE
        | st.dictionaries(st.sampled_from(FIELDS), TREE, max_size=4)
        | st.lists(st.dictionaries(st.sampled_from(FIELDS), TREE, max_size=5), max_size=3),
        max_size=6,
    )
)
def test_any_configuration_is_taken_or_refused_in_one_line(data: object) -> None:
    try:
        build_config(data)
    except ConfigError as error:
        assert str(error) and "\n" not in str(error).strip()


@given(
    st.text(max_size=40), st.sampled_from(["", "rtsp://", "http://", "rtsp://u:topsecret@", "https://[", "ftp://"])
)
def test_any_source_text_is_taken_or_refused_and_no_password_is_told(text: str, scheme: str) -> None:
    source = scheme + text
    try:
        open_source(build_config({"cameras": [{"name": "c", "source": source}]}).cameras[0])
    except (ConfigError, SourceError) as error:
        assert "topsecret" not in str(error)
    if "@" in source:
        assert "topsecret" not in redact(source)


def test_a_library_user_gets_no_log_on_stdout(short_clip: Path, tiny_model: Path) -> None:
    """Regression: structlog's default prints where data belongs."""
    code = (
        "import facegate, sys\n"
        "from facegate.pipeline.config import RunConfig, CameraConfig, ScorerConfig\n"
        "config = RunConfig(cameras=(CameraConfig(name='c', source=sys.argv[1]),),"
        " scorer=ScorerConfig(weights=sys.argv[2]))\n"
        "with facegate.watch(config) as shots:\n"
        "    print(sum(1 for _ in shots))\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(short_clip), str(tiny_model)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert out.stdout.strip().isdigit() and "INFO" not in out.stderr


def test_the_stop_event_ends_a_source_between_two_frames(short_clip: Path) -> None:
    stop = Event()
    frames = open_source(CameraConfig(name="c", source=str(short_clip), realtime=True)).frames(stop)
    next(frames)
    stop.set()
    assert list(frames) == []
