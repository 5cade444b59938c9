"""What several tests need: transcoding, free ports, and the command line as a real process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

import av

ROOT = Path(__file__).parent.parent
PATIENCE_S = 120
"""No machine takes this long: what is waited for in vain does not happen. How soon it happens is not asserted."""


def wait_until(condition: Callable[[], object], what: str = "it", every_s: float = 0.02) -> float:
    """Wait until something is true; return for how long, in seconds."""
    began = monotonic()
    while not condition():
        assert monotonic() - began < PATIENCE_S, f"waited in vain for {what}"
        sleep(every_s)
    return monotonic() - began


class Delays:
    """How late this machine lets a thread go on that wanted to sleep for a moment, at worst."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        began = monotonic()
        while not self._stop.wait(0.05):
            self.worst_s, began = max(self.worst_s, monotonic() - began - 0.05), monotonic()


def transcode(
    source: Path,
    target: Path,
    frames: int | None = None,
    *,
    codec: str = "libx264",
    size: tuple[int, int] | None = None,
    pixels: str = "yuv420p",
    **options: str,
) -> Path:
    """Write ``source``'s video as H.264 or otherwise, at most ``frames`` of it."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        rate = stream.average_rate or 25
        out = writer.add_stream(
            codec, rate=rate, options={"preset": "ultrafast", "crf": "18", "g": "15", **options}
        )
        assert isinstance(out, av.VideoStream)
        out.width, out.height = size or (stream.width // 2 * 2, stream.height // 2 * 2)
        out.pix_fmt = pixels
        out.codec_context.max_b_frames = 0
        out.codec_context.time_base = Fraction(1, 90_000)
        for index, frame in enumerate(reader.decode(stream)):
            if index == frames:
                break
            picture = frame.reformat(width=out.width, height=out.height, format=pixels)
            picture.pts, picture.time_base = round(index * 90_000 / rate), Fraction(1, 90_000)
            writer.mux(out.encode(picture))
        writer.mux(out.encode())
    return target


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def facegate(
    *arguments: object, env: dict[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end, with ``env`` on top of the environment."""
    command = [sys.executable, "-m", "facegate", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=200, check=False, env=os.environ | (env or {}), **options
    )


@contextmanager
def process(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """The command line as a running process that does not outlive the block."""
    command = [sys.executable, "-m", "facegate", *map(str, arguments)]
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ, start_new_session=True
    )
    try:
        yield child
    except BaseException:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(3)  # it may be about to say why
        print(f"exit code {child.returncode}")
        raise
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        _, said = child.communicate()
        print(said[-5000:])  # pytest shows it where the test has failed


def wait_for_line(child: subprocess.Popen[str], words: str) -> list[str]:
    """Read a process's stderr up to a line with ``words``; return what was read."""
    assert child.stderr is not None
    seen: list[str] = []
    for line in child.stderr:
        seen.append(line)
        if words in line:
            return seen
    raise AssertionError(f"never said {words!r}: {''.join(seen)}")


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def shots_of(text: str) -> list[dict[str, Any]]:
    """Of a worker's lines, those about shots."""
    return [line for line in map(json.loads, text.splitlines()) if line["event"] == "shot"]


def bytes_in(folder: Path) -> bytes:
    """What is in the files of a folder, read by another process: they may be open in SQLite here."""
    return subprocess.check_output(["cat", *sorted(path for path in folder.iterdir() if path.is_file())])
