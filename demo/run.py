"""Runs the demo: RTSP server, gate and worker as separate processes, and a table of results."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from facegate.demo.clip import DemoClip, make_clip
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.errors import FacegateError
from facegate.pipeline.observability.report import RunReport
from facegate.pipeline.records import Box
from facegate.recognition.embedders import load_embedder

WORKER_EXIT_S = 30.0


class DemoError(FacegateError):
    """The demo failed."""


class _Shot(msgspec.Struct, frozen=True):
    """The part of a worker's output line that the demo evaluates."""

    event: str
    name: str | None
    similarity: float
    pts_s: float = 0.0
    box: Box = (0.0, 0.0, 0.0, 0.0)


class DemoVerdict(msgspec.Struct, frozen=True):
    """The worker's results compared with the ground truth."""

    named: tuple[str, ...]
    missed: tuple[str, ...]
    wrong: tuple[str, ...]
    """Shots that were misidentified, including named distractors."""
    unknown: int

    @property
    def good(self) -> bool:
        """Whether all enrolled people were identified and nobody else was."""
        return not self.missed and not self.wrong


def run_demo(save: Path | None, embedder: str = "auto") -> DemoVerdict:
    """Make the clip, run everything, print the table to stdout.

    Raises:
        DemoError: a process failed.
    """
    load_embedder(embedder)  # a wrong name is refused before anything is made
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="facegate-demo-") as temporary:
        folder = Path(temporary)
        console.print("making a clip with real faces ...")
        clip = make_clip(folder)
        report, shots = _run_processes(clip, folder, save, embedder, console)
    verdict = evaluate_run(clip, shots)
    _show(clip, report, shots, verdict)
    if save is not None:
        console.print(f"best shots and contact sheet: {save}")
    return verdict


def evaluate_run(clip: DemoClip, shots: list[_Shot]) -> DemoVerdict:
    """Compare the worker's names with the ground truth."""
    enrolled = {person.name for person in clip.people if person.enrolled}
    truth = [(shot, clip.who(shot.pts_s, shot.box)) for shot in shots]
    right = {shot.name for shot, who in truth if shot.name is not None and shot.name == who}
    wrong = tuple(f"{who} as {shot.name}" for shot, who in truth if shot.name is not None and shot.name != who)
    return DemoVerdict(
        named=tuple(sorted(str(name) for name in right)),
        missed=tuple(sorted(enrolled - right)),
        wrong=wrong,
        unknown=sum(shot.name is None for shot, _ in truth),
    )


def _run_processes(
    clip: DemoClip, folder: Path, save: Path | None, embedder: str, console: Console
) -> tuple[RunReport, list[_Shot]]:
    endpoint = f"tcp://127.0.0.1:{_free_port()}"
    results, report = folder / "results.jsonl", folder / "report.json"
    recognize = ["recognize", "--connect", endpoint, "--gallery", str(clip.gallery), "--output", str(results)]
    recognize += ["--embedder", embedder, "--once"]
    with RtspServer(Movie(clip.path)) as server:
        console.print(f"serving it at {server.url}; starting gate and worker ...")
        run = ["run", server.url, "--bind", endpoint, "--report", str(report), "--linger", "60", "--no-reconnect"]
        if save is not None:
            run += ["--save", str(save)]
        with _process(recognize) as worker, _process(run) as gate:
            if gate.wait() != 0:
                raise DemoError(f"the gate process exited with code {gate.returncode}: see its output above")
            if worker.wait(WORKER_EXIT_S) != 0:
                raise DemoError(f"the worker process exited with code {worker.returncode}: see its output above")
    lines = results.read_text(encoding="utf-8").splitlines()
    return (
        msgspec.json.decode(report.read_bytes(), type=RunReport),
        [line for line in (msgspec.json.decode(line, type=_Shot) for line in lines) if line.event == "shot"],
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _process(arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``facegate`` with ``arguments`` as a child that does not outlive the block."""
    child = subprocess.Popen([sys.executable, "-m", "facegate", *arguments], env=os.environ)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(3)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _show(clip: DemoClip, report: RunReport, shots: list[_Shot], verdict: DemoVerdict) -> None:
    enrolled = sum(person.enrolled for person in clip.people)
    table = Table(title="facegate demo", title_justify="left", show_header=False)
    table.add_column("what")
    table.add_column("value", justify="right")
    rows = {
        "frames sent by the camera": str(clip.frames),
        "frames processed (newest first, the rest skipped)": str(report.frames_processed),
        "faces detected": str(report.observed),
        "faces forwarded (best shots)": str(report.shots),
        "recognition calls avoided": f"{100 * (1 - report.forwarded_share):.1f} %",
        "faces per second": f"{report.observed / report.duration_s:.1f}",
        "shots identified / unknown": f"{len(shots) - verdict.unknown} / {verdict.unknown}",
        "enrolled people identified": f"{len(verdict.named)} of {enrolled}",
        "wrong names, distractors included": str(len(verdict.wrong)),
    }
    for what, value in rows.items():
        table.add_row(what, value)
    Console().print(table)
    print("Clip and gallery come from the same photographs, so recognition is easier than in practice.")
    print("To see it live and add cameras, run: facegate serve --demo")
    for label, names in (("missed", verdict.missed), ("wrong", verdict.wrong)):
        if names:
            print(f"{label}: {', '.join(names)}")
