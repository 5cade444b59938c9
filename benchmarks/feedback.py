"""The loop of gate and worker over JetStream beside ZeroMQ: visits, calls, first names, and what answers cost.

    python -m benchmarks.feedback --embedder mobilefacenet-y1.onnx --detector yunet_n_640_640.onnx
    python -m benchmarks.feedback --quick

Clips of people with photographs, and of two strangers, are played in real time by ``facegate run`` to ``facegate
recognize``, processes of their own, over both transports in turn. Then shots of a gate go through a server to a
worker that answers and to one that does not, in turn: the difference is the answers' processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from time import monotonic, process_time, sleep
from typing import Any

import msgspec
import nats
import yaml

from benchmarks.delivery.__main__ import shots
from benchmarks.host_info import cpu
from facegate.sinks import wire
from facegate.sinks.jetstream import FEEDBACK_HEADER, STREAM, SUBJECT, JetStream, unpack
from facegate.sinks.spool import Spool
from facegate.sinks.spooled_sink import SpooledSink

ROOT = Path(__file__).parent.parent
CLIPS = (
    "0188_03_021_al_pacino.avi",
    "0294_02_004_angelina_jolie.avi",
    "0490_03_007_bill_gates.avi",
    "1804_03_006_sylvester_stallone.avi",
    "1192_01_006_julia_roberts.avi",
    "1034_03_006_jet_li.avi",
)
PORT = 42851
BIN = Path(sys.executable).parent
ANSWERED = 2000
INCONCLUSIVE = wire.Feedback(True, False, 0.4, 0.1, "a" * 16)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A NATS server with JetStream."""
    command: list[Any] = [BIN / "nats-server", "-js", "-sd", folder, "-a", "127.0.0.1", "-p", str(PORT)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert process.stderr is not None
    next(line for line in process.stderr if b"Server is ready" in line)
    Thread(target=process.stderr.read, daemon=True).start()
    try:
        yield f"nats://127.0.0.1:{PORT}"
    finally:
        process.terminate()
        process.wait()


def play(clip: Path, url: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One clip through one transport: shots, named visits and when the first name came, in media time."""
    over_nats = url.startswith("nats")
    config = {
        "cameras": [{"name": "cam", "source": str(clip), "realtime": True}],
        "detector": {"kind": "yunet", "path": str(arguments.detector)},
        "delivery": (
            {"bind": None, "outputs": [{"kind": "jetstream", "target": url, "spool": str(folder / "s.db")}]}
            if over_nats
            else {"bind": url}
        ),
    }
    (folder / "gate.yaml").write_text(yaml.safe_dump(config))
    lines = folder / "lines.jsonl"
    command: list[Any] = [BIN / "facegate", "recognize", "--connect", url, "--gallery", arguments.data / "photos"]
    command += ["--embedder", arguments.embedder, "--output", lines]
    worker = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    sleep(4.0)
    report = folder / "report.json"
    subprocess.run(
        [BIN / "facegate", "run", folder / "gate.yaml", "--report", report], check=True, capture_output=True
    )
    sleep(1.5)
    worker.send_signal(signal.SIGINT)
    worker.wait()
    events = [json.loads(line) for line in lines.read_text().splitlines()]
    first: dict[str, float] = {}
    for event in events:
        if event["event"] in ("seen", "named") and event.get("name"):
            first.setdefault(event["name"], event["last_pts_s"])
    delivery = json.loads(report.read_text())["delivery"]
    delivery = next(iter(delivery["outputs"].values())) if over_nats else delivery
    return {
        "shots": delivery["accepted"],
        "answered": delivery["answered"],
        "visits": sum(event["event"] == "ended" for event in events),
        "names": first,
    }


async def answer(url: str, count: int, *, feedback: bool) -> None:
    """A worker that acknowledges shots, to their gate too with ``feedback``."""
    client = await nats.connect(url)
    stream = client.jetstream()
    pulled = await stream.pull_subscribe(f"{SUBJECT}.>", durable="recognition", stream=STREAM)
    done = 0
    while done < count:
        for message in await pulled.fetch(64, timeout=30):
            if feedback:
                header, _ = unpack(message.data)
                body = wire.encode(wire.Ack(header.shot_id, 1.0, INCONCLUSIVE))
                await client.publish((message.headers or {})[FEEDBACK_HEADER], body)
            await message.ack()
            done += 1
    await client.flush()
    await client.close()


def cost(url: str, folder: Path, run: str, *, feedback: bool) -> tuple[float, int]:
    """Processor seconds of the gate's side for many shots, and answers that came back."""
    sink = SpooledSink(JetStream(url), Spool(folder / f"{run}.db"))
    run_answer = f"asyncio.run(answer({url!r}, {ANSWERED}, feedback={feedback}))"
    code = f"import asyncio; from benchmarks.feedback import answer; {run_answer}"
    sink.put([wire.pack(each) for each in shots(1, f"{run}-first")])
    while sink.report().undelivered:
        sleep(0.05)
    worker = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ})
    entries = [wire.pack(each) for each in shots(ANSWERED - 1, run)]
    began, got = process_time(), 0
    for first in range(0, len(entries), 20):
        sink.put(entries[first : first + 20])
        got += len(sink.feedback().items)
        sleep(0.01)
    worker.wait()
    until = monotonic() + 2.0
    while monotonic() < until and feedback and got < ANSWERED:
        got += len(sink.feedback().items)
        sleep(0.02)
    spent = process_time() - began
    sink.close(5.0)
    return spent, got


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--embedder", default="builtin")
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--quick", action="store_true", help="Two clips, one round.")
    arguments = parser.parse_args()
    arguments.detector = arguments.detector or arguments.data / "models" / "yunet_n_640_640.onnx"
    print(cpu())
    totals: dict[str, list[Any]] = {"tcp": [0, 0, 0, []], "nats": [0, 0, 0, []]}
    for clip in CLIPS[:2] if arguments.quick else CLIPS:
        for transport, total in totals.items():
            with tempfile.TemporaryDirectory() as name, server(Path(name) / "js") as nats_url:
                url = nats_url if transport == "nats" else f"tcp://127.0.0.1:{PORT + 1}"
                found = play(arguments.data / "clips" / clip, url, Path(name), arguments)
            print(f"{clip:38s} {transport:5s} {msgspec.json.encode(found).decode()}", flush=True)
            for index, key in enumerate(("shots", "visits")):
                total[index] += found[key]
            total[2] += len(found["names"])
            total[3] += found["names"].values()
    for transport, (sent, visits, names, times) in totals.items():
        when = statistics.mean(times) if times else float("nan")
        print(
            f"{transport:5s} {sent} calls, {visits} visits, {names} names, first after {when:.2f} s of media time"
        )
    spent: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as name, server(Path(name) / "js") as url:
        for number in range(1 if arguments.quick else 5):
            for feedback in (False, True):
                seconds, got = cost(url, Path(name), f"{number}-{feedback}", feedback=feedback)
                assert got == (ANSWERED if feedback else 0), got
                spent[feedback].append(seconds)
    without, with_ = (statistics.median(spent[key]) / ANSWERED * 1e3 for key in (False, True))
    size = len(wire.encode(wire.Ack("0" * 32, 1.0, INCONCLUSIVE)))
    print(
        f"per shot, ms of processor at the gate: {without:.3f} without answers, {with_:.3f} with; {size} bytes each"
    )


if __name__ == "__main__":
    main()
