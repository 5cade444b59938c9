"""A 4K camera with sixty visits an hour, never at rest: one stream beside two.

    python -m benchmarks.dual_stream --photos ../shared/data/photos          # about fifteen minutes
    python -m benchmarks.dual_stream --photos ../shared/data/photos --quick  # about three

A person (a photograph that sways) is in view for eight seconds of each minute; leaves move in the
background all the time. Gate and worker are processes; the RTSP server plays 3840x2160 and 640x360 at
25 frames a second, with a key frame every two seconds. Printed for each way of watching: cores of the
gate, width of the faces of its shots, and how long after the person appeared the name came. The ways
take turns.
"""

from __future__ import annotations

import argparse
import json
import math
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any

import av
import cv2
import msgspec
import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.host_info import cpu
from benchmarks.ingest import server

FPS, KEY_EVERY = 25, 50
LARGE, SMALL = (3840, 2160), (640, 360)
LOOP_S, IN_VIEW = 60.0, (6.0, 14.0)
WARM_UP_S = 3.0
NAME = "Bill_Gates"
WAYS = ("one stream", "two streams")


class Result(msgspec.Struct, frozen=True):
    """One round of one way."""

    cores: float
    widths: list[float]
    named_s: list[float]
    """Seconds from when the person appeared to the name, one for each visit."""
    visits: int


def frames(photo: Path, seconds: float) -> Iterator[NDArray[np.uint8]]:
    """Yield the scene at 4K, 25 frames a second, RGB."""
    rng = np.random.default_rng(0)
    width, height = LARGE
    rough = rng.integers(60, 170, (height // 40, width // 40, 3)).astype(np.uint8)
    wall = cv2.GaussianBlur(cv2.resize(rough, LARGE, interpolation=cv2.INTER_CUBIC), (0, 0), 8)
    face = cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB)
    face = cv2.resize(face, (640, 640 * face.shape[0] // face.shape[1]), interpolation=cv2.INTER_CUBIC)
    leaves = [
        (int(rng.integers(0, width - 300)), int(rng.integers(0, 500)), float(rng.uniform(1, 4))) for _ in range(40)
    ]
    for index in range(round(seconds * FPS)):
        at = index / FPS
        frame = wall.copy()
        for x, y, pace in leaves:
            left = min(max(0, x + round(60 * math.sin(at * pace + x))), width - 120)
            frame[y : y + 90, left : left + 120] = (70, 120 + round(30 * math.sin(at * pace)), 60)
        if IN_VIEW[0] <= at < IN_VIEW[1]:
            left = 1400 + round(150 * math.sin(at * 0.9))
            frame[900 : 900 + face.shape[0], left : left + face.shape[1]] = face
        yield frame


def write_streams(photo: Path, folder: Path, seconds: float) -> None:
    """Write both streams of the scene."""
    options = {"preset": "ultrafast", "g": str(KEY_EVERY), "crf": "26", "sc_threshold": "0"}
    with av.open(str(folder / "large.mp4"), "w") as large, av.open(str(folder / "small.mp4"), "w") as small:
        streams = []
        for writer, size in ((large, LARGE), (small, SMALL)):
            stream = writer.add_stream("libx264", rate=FPS, options=options)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.codec_context.max_b_frames = 0
            streams.append(stream)
        for index, image in enumerate(frames(photo, seconds)):
            shrunk = cv2.resize(image, SMALL, interpolation=cv2.INTER_AREA)
            for writer, stream, pixels in zip((large, small), streams, (image, shrunk), strict=True):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = index, Fraction(1, FPS)
                writer.mux(stream.encode(frame))
        for writer, stream in zip((large, small), streams, strict=True):
            writer.mux(stream.encode())


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])


def run(way: str, folder: Path, gallery: Path, seconds: float) -> Result:
    """Watch for a while, from the beginning of the streams on."""
    port, lines = free_port(), folder / "names.jsonl"
    lines.unlink(missing_ok=True)
    with server(folder / "large.mp4") as large, server(folder / "small.mp4") as small:
        urls = {"source": large} if way == "one stream" else {"source": small, "main_stream": large}
        config = {
            "cameras": [{"name": "door", "max_fps": 5, **urls}],
            "delivery": {"bind": f"tcp://127.0.0.1:{port}"},
        }
        (folder / "run.yaml").write_text(json.dumps(config))
        facegate = [sys.executable, "-m", "facegate"]
        worker = subprocess.Popen(
            [
                *facegate,
                "recognize",
                "--gallery",
                gallery,
                "--connect",
                f"tcp://127.0.0.1:{port}",
                "--output",
                lines,
            ],
            stderr=subprocess.DEVNULL,
        )
        sleep(5.0)
        gate = subprocess.Popen([*facegate, "run", folder / "run.yaml"], stderr=subprocess.PIPE, text=True)
        try:
            assert gate.stderr is not None
            while "camera live" not in (line := gate.stderr.readline()):
                if not line:
                    raise SystemExit("the gate has ended")
            live = monotonic()
            Thread(target=gate.stderr.read, daemon=True).start()
            process = psutil.Process(gate.pid)
            sleep(WARM_UP_S)
            began, spent = monotonic(), _cpu_s(process)
            arrived = list(arrivals(lines, live + seconds - 0.5))
            cores = (_cpu_s(process) - spent) / (monotonic() - began)
        finally:
            for child in (gate, worker):
                child.terminate()
                child.wait()
    return measured(cores, [(at - live, event) for at, event in arrived])


def arrivals(lines: Path, until: float) -> Iterator[tuple[float, dict[str, Any]]]:
    """Yield the worker's events as they come, each with its monotonic time."""
    while not lines.exists() and monotonic() < until:
        sleep(0.05)
    with lines.open() as reader:
        while monotonic() < until:
            line = reader.readline()
            if line.endswith("\n"):
                yield monotonic(), json.loads(line)
            else:
                sleep(0.02)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def measured(cores: float, arrived: list[tuple[float, dict[str, Any]]]) -> Result:
    """Read the worker's events; times are seconds since the camera was live."""
    shots = [event for _, event in arrived if event["event"] == "shot"]
    named: dict[str, float] = {}
    for at, event in arrived:
        if event["event"] != "shot" and event["name"] == NAME:
            named.setdefault(event["visit"], at % LOOP_S - IN_VIEW[0])
    visits = {event["visit"] for _, event in arrived if event["event"] != "shot"}
    return Result(cores, [event["box"][2] - event["box"][0] for event in shots], list(named.values()), len(visits))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--minutes", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    rounds, minutes = (1, 1) if arguments.quick else (arguments.rounds, arguments.minutes)
    print(cpu())
    pictures = sorted((arguments.photos / NAME).glob("*.jpg"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_streams(pictures[0], folder, LOOP_S)
        gallery = folder / "people.db"
        add = [sys.executable, "-m", "facegate", "gallery", "add", gallery, *pictures[1:6], "--name", NAME]
        subprocess.run([*map(str, add)], check=True, capture_output=True)
        found: dict[str, list[Result]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way in WAYS:
                found[way].append(run(way, folder, gallery, LOOP_S * minutes))
    for way, results in found.items():
        widths = [width for result in results for width in result.widths]
        named = [seconds for result in results for seconds in result.named_s]
        print(
            f"{way:12s} cores {statistics.median(result.cores for result in results):.2f}  "
            f"face width {statistics.median(widths):.0f} px  shots {len(widths)}  "
            f"visits {sum(result.visits for result in results)}, named {len(named)}, "
            f"after {statistics.median(named):.2f} s (worst {max(named):.2f} s)"
        )


if __name__ == "__main__":
    main()
