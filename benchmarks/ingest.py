"""Many live cameras on one machine: what is sustained, how old frames get, what it costs and where it goes.

    facegate models tune                                    # scoring by the fastest backend installed
    python -m benchmarks.ingest --json ingest.json          # about 25 minutes
    python -m benchmarks.ingest --quick                     # about two

Cameras are clients of one RTSP server in a process of its own, which plays the demo's clip of real faces (640x360,
25 frames a second). The plain loop beside it is what most scripts do: a thread per camera with OpenCV's
VideoCapture that reads a frame, detects, and reads the next.
"""

from __future__ import annotations

import argparse
import gc
import json
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fractions import Fraction
from itertools import islice
from pathlib import Path
from time import monotonic, sleep
from typing import Literal

import av
import cv2
import msgspec
import numpy as np
import psutil

from benchmarks.host_info import cpu
from facegate.cpu import share_cores
from facegate.demo.clip import make_clip
from facegate.detectors.base import load_detector
from facegate.pipeline.config import CameraConfig, RunConfig
from facegate.pipeline.observability.report import RunReport
from facegate.pipeline.records import ScoredFrame
from facegate.pipeline.runner import Runner
from facegate.pipeline.runtime.threads import THREAD_PREFIX
from facegate.pipeline.watch import ShotQueue
from facegate.scoring.engine import load_scorer

SAMPLE_FPS = 5.0
Figures = dict[str, float]


@contextmanager
def server(movie: Path, *options: str) -> Iterator[str]:
    """The RTSP server in a process of its own; yields its URL."""
    command = [sys.executable, "-m", "tests.camera_faults", str(movie), *options]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield child.stdout.readline().strip()
    finally:
        child.kill()
        child.wait()


def scaled(
    clip: Path,
    target: Path,
    width: int,
    height: int,
    key_every: int = 25,
    skip: int = 0,
    *,
    codec: Literal["libx264", "libx265"] = "libx264",
    most: int | None = None,
) -> Path:
    """The clip in another size, as a camera would send it: a key frame a second by default, no B-frames.

    Args:
        clip: to be read.
        target: to be written.
        width: of the pictures.
        height: of the pictures.
        key_every: pictures from one key frame to the next.
        skip: pictures left out at the start.
        codec: that writes it.
        most: pictures at most.
    """
    with av.open(str(clip)) as reader, av.open(str(target), "w") as writer:
        rate = reader.streams.video[0].average_rate or 25
        coded = {"preset": "veryfast", "crf": "21", "g": str(key_every)}
        out = writer.add_stream(codec, rate=rate, options=coded)
        out.width, out.height, out.pix_fmt = width, height, "yuv420p"
        out.codec_context.max_b_frames = 0
        out.codec_context.time_base = Fraction(1, 90_000)
        for index, frame in enumerate(islice(reader.decode(video=0), skip, None if most is None else skip + most)):
            picture = frame.reformat(width, height, "yuv420p")
            picture.pts, picture.time_base = round(index * 90_000 / rate), Fraction(1, 90_000)
            writer.mux(out.encode(picture))
        writer.mux(out.encode())
    return target


def cpu_by_thread(process: psutil.Process) -> Counter[str]:
    """CPU seconds so far by what the thread is for."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    spent: Counter[str] = Counter()
    for thread in process.threads():
        name = names.get(thread.id, "")
        kind = name.removeprefix(THREAD_PREFIX).split("-")[0] if name.startswith(THREAD_PREFIX) else "rest"
        spent["decode" if kind == "camera" else kind] += thread.user_time + thread.system_time
    return spent


@contextmanager
def running(config: RunConfig, on_scored: Callable[[ScoredFrame], None] = lambda frame: None) -> Iterator[Runner]:
    """A run whose shots are thrown away."""
    queue = ShotQueue()
    drain = threading.Thread(target=lambda: deque(queue, maxlen=0))
    with Runner(config, lambda: queue, on_scored=on_scored, on_finished=queue.end) as runner:
        drain.start()
        yield runner
        runner.stop()
        runner.close(linger_s=0)
    drain.join()


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> float:
    """Seconds until the condition held."""
    start = monotonic()
    while not condition():
        if monotonic() - start > seconds:
            raise TimeoutError("waited in vain")
        sleep(0.02)
    return monotonic() - start


def watch(url: str, cameras: int, warm_up_s: float, seconds: float, max_fps: float | None) -> dict[str, object]:
    """Run facegate on ``cameras`` clients of ``url`` and measure after a warm-up."""
    config = RunConfig(
        cameras=tuple(CameraConfig(name=f"cam{i}", source=url, max_fps=max_fps) for i in range(cameras))
    )
    process = psutil.Process()
    rss: list[int] = []
    with running(config) as runner:
        wait_for(lambda: all(camera.state == "live" for camera in runner.report().cameras))
        sleep(warm_up_s)
        before, spent, start = runner.report(), cpu_by_thread(process), monotonic()
        while monotonic() - start < seconds:
            sleep(min(2.0, seconds / 5))
            rss.append(process.memory_info().rss)
        after, passed = runner.report(), monotonic() - start
        used = cpu_by_thread(process)
    quarter = max(1, len(rss) // 4)
    growth = statistics.mean(rss[-quarter:]) / statistics.mean(rss[:quarter]) - 1
    result: dict[str, object] = rates(before, after, passed)
    used.subtract(spent)
    result["cores"] = {name: round(value / passed, 3) for name, value in sorted(used.items()) if value > 0.005}
    result["cores_per_camera"] = round(sum(used.values()) / passed / cameras, 4)
    result["rss_mb"] = round(statistics.mean(rss[-quarter:]) / 1e6)
    result["rss_growth"] = round(growth, 4)
    return result


def rates(before: RunReport, after: RunReport, passed: float, first: int | None = None) -> dict[str, object]:
    """What came and what was looked at, per second and camera, of the ``first`` cameras."""
    pairs = list(zip(before.cameras, after.cameras, strict=True))[:first]
    looked = [(new.frames_processed - old.frames_processed) / passed for old, new in pairs]
    ages = [camera.age_ms for camera in after.cameras if camera.age_ms is not None]
    return {
        "cameras": len(pairs),
        "seconds": round(passed, 1),
        "fps_received": round(sum(new.frames_received - old.frames_received for old, new in pairs) / passed, 1),
        "fps_looked_at": round(sum(looked), 1),
        "fps_looked_at_least": round(min(looked), 2),
        "fps_looked_at_most": round(max(looked), 2),
        "faces_per_s": round((after.observed - before.observed) / passed, 1),
        "age_p95_ms": max((age.p95 for age in ages), default=0.0),
        "reconnects": sum(camera.reconnects for camera in after.cameras),
    }


def lateness() -> Callable[[float], float]:
    """How late a picture is by its stamp, which can be trusted here: our own server's, on this host's clock."""
    least = float("inf")

    def step(stamp_s: float) -> float:
        nonlocal least
        least = min(least, monotonic() - stamp_s)
        return monotonic() - stamp_s - least

    return step


def plain_loop(url: str, cameras: int, seconds: float, detect: bool) -> dict[str, object]:
    """A thread per camera: OpenCV reads a frame, it is detected on, the next is read."""
    detector = load_detector()
    lock, stop = threading.Lock(), threading.Event()
    frames: Counter[int] = Counter()
    ages: list[float] = []

    def loop(index: int) -> None:
        capture = cv2.VideoCapture(url)
        late_s = lateness()
        while not stop.is_set():
            ok, image = capture.read()
            if not ok:
                break
            ages.append(late_s(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000))
            frames[index] += 1
            if detect:
                with lock:
                    detector.detect([np.ascontiguousarray(image[:, :, ::-1])])
        capture.release()

    threads = [threading.Thread(target=loop, args=(index,)) for index in range(cameras)]
    process = psutil.Process()
    for thread in threads:
        thread.start()
    sleep(3.0)
    start, spent, before = monotonic(), process.cpu_times(), frames.total()
    ages.clear()
    sleep(seconds)
    passed, used = monotonic() - start, process.cpu_times()
    count = frames.total() - before
    late = ages[-max(1, len(ages) // 4) :]
    stop.set()
    for thread in threads:
        thread.join()
    cores = (used.user + used.system - spent.user - spent.system) / passed
    return {
        "cameras": cameras,
        "fps": round(count / passed, 1),
        "cores": round(cores, 2),
        "age_p95_ms_at_the_end": round(1000 * float(np.percentile(late, 95))) if late else None,
    }


def neighbors(movie: Path, good: int, seconds: float, rounds: int) -> dict[str, object]:
    """Frames per second of ``good`` cameras alone, and beside a stalled, a garbled and an unauthorized one."""
    with (
        server(movie) as url,
        server(movie, "--stall-at", "1") as stalled,
        server(movie, "--corrupt", "1") as garbled,
        server(movie, "--login", "me:secret") as locked,
    ):
        found: dict[str, list[float]] = {}
        for name, bad in (("alone", []), ("beside three bad ones", [stalled, garbled, locked])) * rounds:
            cameras = [CameraConfig(name=f"cam{i}", source=url, max_fps=SAMPLE_FPS) for i in range(good)]
            cameras += [CameraConfig(name=f"bad{i}", source=each) for i, each in enumerate(bad)]
            with running(RunConfig(cameras=tuple(cameras))) as runner:
                wait_for(lambda: all(camera.state == "live" for camera in runner.report().cameras[:good]))
                wait_for(lambda: all(camera.problem for camera in runner.report().cameras[good:]))
                before, start = runner.report(), monotonic()
                sleep(seconds)
                after, passed = runner.report(), monotonic() - start
            measured = rates(before, after, passed, good)
            for key in ("fps_received", "fps_looked_at"):
                found.setdefault(f"{key}, {name}", []).append(float(measured[key]))  # type: ignore[arg-type]
    mean = {name: round(statistics.mean(values), 2) for name, values in found.items()}
    change = max(
        abs(mean[f"{key}, beside three bad ones"] / mean[f"{key}, alone"] - 1)
        for key in ("fps_received", "fps_looked_at")
    )
    return {**mean, "change": round(change, 4)}


def restarts(movie: Path, times: int) -> dict[str, object]:
    """The server is killed and started again: how soon the camera is live, and what has grown meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    process, back, used = psutil.Process(), [], []
    camera = CameraConfig(name="cam", source=f"rtsp://127.0.0.1:{port}/live")
    with running(RunConfig(cameras=(camera,))) as runner:
        for _ in range(times + 1):
            with server(movie, "--port", port):
                got = runner.report().cameras[0].frames_received
                back.append(wait_for(lambda: runner.report().cameras[0].frames_received > got))  # noqa: B023
                sleep(2.0)
                sockets = sum(item.status != "LISTEN" for item in process.net_connections())
                used.append((process.num_threads(), process.num_fds(), sockets, process.memory_info().rss / 1e6))
            wait_for(lambda: runner.report().cameras[0].state != "live")
    names = ("threads", "descriptors", "sockets", "rss_mb")
    return {
        "restarts": times,
        "back_after_s_worst": round(max(back[1:]), 2),
        "back_after_s_median": round(statistics.median(back[1:]), 2),
        **{
            f"{name}, after the first and the last": [round(v) for v in (used[1][i], used[-1][i])]
            for i, name in enumerate(names)
        },
    }


STATES = {"live": (), "stalled": ("--stall-at", "1"), "unauthorized": ("--login", "me:secret"), "no server": None}
SAID_S = 120.0
"""A gate that has not said by then what it is waited for never will."""


def interrupts(movie: Path, settled_s: float) -> dict[str, object]:
    """Seconds from Ctrl-C to the end of ``facegate run``, and its exit code, by the state its camera is in."""
    found: dict[str, object] = {}
    for state, options in STATES.items():
        with server(movie, *(options or ())) as url:
            target = "rtsp://127.0.0.1:9/live" if options is None else url
            command = [sys.executable, "-m", "facegate", "run", target, "--bind", f"ipc://{movie.parent}/gate"]
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
                assert child.stderr is not None
                words = "camera live" if state in ("live", "stalled") else "camera unreachable"
                late = threading.Timer(SAID_S, child.kill)
                late.start()
                if not any(words in line for line in child.stderr):
                    raise TimeoutError(f"the gate never said {words!r}")
                late.cancel()
                sleep(settled_s)
                start = monotonic()
                child.send_signal(signal.SIGINT)
                child.stderr.read()
                code = child.wait()
            found[state] = {"seconds": round(monotonic() - start, 2), "exit_code": code}
    return found


class Extent(msgspec.Struct, frozen=True):
    """How much is measured, and for how long."""

    cameras: int
    """At most."""
    warm_up_s: float
    seconds: float
    long_warm_up_s: float
    long_s: float
    neighbors: int
    rounds: int
    restarts: int
    large: tuple[int, ...]
    """Numbers of cameras of 1920x1080."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="Fewer cameras, seconds instead of minutes.")
    parser.add_argument("--minutes", type=float, default=10.0, help="Of the run whose memory is watched.")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    share_cores()
    extent = Extent(16, 5.0, 20.0, 60.0, 60 * arguments.minutes, 4, 2, 20, (1, 2, 4))
    if arguments.quick:
        extent = Extent(2, 2.0, 4.0, 2.0, 8.0, 2, 1, 2, (1,))
    most, warm_s, short_s = extent.cameras, extent.warm_up_s, extent.seconds
    result: dict[str, object] = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "cpu": cpu()}
    scorer = load_scorer()
    result["scoring"] = f"{scorer.backend.name} {scorer.backend.dtype}: {scorer.why}"
    print(result, flush=True)

    def keep(name: str, value: object) -> None:
        result[name] = value
        print(name, json.dumps(value), flush=True)
        gc.collect()

    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(Path(folder)).path
        small = scaled(clip, Path(folder) / "360.mp4", 640, 360)
        large = scaled(clip, Path(folder) / "1080.mp4", 1920, 1080)
        with server(small) as url:
            count = 1
            while count <= most:
                keep(
                    f"640x360, {count} cameras, {SAMPLE_FPS:g} fps", watch(url, count, warm_s, short_s, SAMPLE_FPS)
                )
                count *= 2
            keep(f"overload: {most} cameras, every frame", watch(url, most, warm_s, short_s, None))
            keep("plain OpenCV, decoding alone", plain_loop(url, most, short_s, detect=False))
            keep("plain OpenCV, detecting in the loop", plain_loop(url, most, short_s, detect=True))
            long = watch(url, most, extent.long_warm_up_s, extent.long_s, SAMPLE_FPS)
            keep(f"long run: {most} cameras, {SAMPLE_FPS:g} fps", long)
        keep("bad neighbors", neighbors(small, extent.neighbors, short_s, extent.rounds))
        keep("restarts", restarts(small, extent.restarts))
        keep("Ctrl-C", interrupts(small, 1.0 if arguments.quick else 3.0))
        with server(large) as url:
            for count in extent.large:
                found = watch(url, count, warm_s, short_s, SAMPLE_FPS)
                keep(f"1920x1080, {count} cameras, {SAMPLE_FPS:g} fps", found)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
