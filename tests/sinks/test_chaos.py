"""Delivery with real processes while workers, the gate and connections die at random.

A short story in the suite; the long one, of 10,000 shots, 20 dead workers and 5 dead gates:

    FACEGATE_CHAOS=10000 pytest -n 0 -s tests/sinks/test_chaos.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from time import monotonic, sleep

from facegate.sinks.spool import Spool

from ..fault_proxy import FaultProxy
from ..helpers import PATIENCE_S, ROOT, free_port
from .test_wire import make_shot

SHOTS = int(os.environ.get("FACEGATE_CHAOS", "1000"))
WORKER_DEATHS, GATE_DEATHS, RESETS = (20, 5, 10) if SHOTS >= 10_000 else (5, 2, 3)
SEED = int(os.environ.get("FACEGATE_CHAOS_SEED", "1"))
AT_A_TIME = 16
MEMORY_MB = 60
"""What a gate may grow by, from its first shot to its end."""

GATE = """
import resource, sys
from pathlib import Path
from time import sleep
from facegate.logs import configure
from facegate.sinks.jetstream import JetStream
from facegate.sinks.spooled_sink import SpooledSink
from facegate.sinks.spool import Spool
from facegate.sinks.zeromq import ZmqSink
from tests.sinks.test_wire import entries
configure(json=False, debug=False)
address, spool = sys.argv[1], Spool(Path(sys.argv[2]))
if address.startswith("nats"):
    sink = SpooledSink(JetStream(address), spool)
else:
    sink = ZmqSink(address, spool=spool, lease_s=5.0)
first, count, step = (int(item) for item in sys.argv[3:6])
mb = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = mb()
for number in range(first, count, step):
    sink.put(entries(*range(number, min(number + step, count))))
    print(min(number + step, count), flush=True)
    sleep(0.03)
report = sink.close(120)
print("end", report.undelivered, mb() - before, flush=True)
"""

WORKER = """
import sys, time, msgspec, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.setsockopt(zmq.RECONNECT_IVL, 20)
socket.connect(sys.argv[1])
log = open(sys.argv[2], "a", buffering=1)
log.write("\\n")  # one that was killed may have left half a line
ready, beat = [b"READY", msgspec.msgpack.encode({"window": 32})], 0.0
while True:
    if time.monotonic() >= beat:
        socket.send_multipart(ready)
        beat = time.monotonic() + 0.5
    if not socket.poll(100):
        continue
    kind, *body = socket.recv_multipart()
    if kind == b"SHOT":
        shot_id = msgspec.msgpack.decode(body[0])["shot_id"]
        log.write(shot_id + "\\n")
        time.sleep(0.003)
        socket.send_multipart([b"ACK", msgspec.msgpack.encode({"shot_id": shot_id, "latency_ms": 0.0})])
"""


class GateUnderTest:
    """A gate's process, which takes up after its last life where that had got to."""

    def __init__(self, address: str, spool: Path) -> None:
        self._arguments = [address, str(spool)]
        self._told = spool.with_suffix(".told")
        self.start()

    def start(self) -> None:
        decided = max((int(word) for word in self.words() if word.isdigit()), default=0)
        command = [sys.executable, "-c", GATE, *self._arguments, str(decided), str(SHOTS), str(AT_A_TIME)]
        with self._told.open("a") as told:
            self.process = subprocess.Popen(command, stdout=told, cwd=ROOT)

    def words(self) -> list[str]:
        """Every whole line that any life has printed."""
        text = self._told.read_text() if self._told.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.start()


class Workers:
    """Three processes that write down each shot before they acknowledge it."""

    def __init__(self, code: str, address: str, folder: Path) -> None:
        self._code = code
        self._address = address
        self._folder = folder
        self.processes = [self._start(number) for number in range(3)]

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        log = self._folder / f"{number}.log"
        return subprocess.Popen([sys.executable, "-c", self._code, self._address, str(log)])

    def kill(self, number: int) -> None:
        self.processes[number].kill()
        self.processes[number].wait()
        self.processes[number] = self._start(number)

    def received(self) -> Counter[str]:
        lines = (line for log in self._folder.glob("*.log") for line in log.read_text().splitlines())
        return Counter(line for line in lines if len(line) == len(make_shot(0).shot_id))


def play(faults: dict[str, tuple[int, Callable[[], None]]], gate: GateUnderTest, random: Random) -> None:
    """Let each fault happen so many times, in any order, while shots come; then wait for the gate's end."""
    order = [name for name, (times, _) in faults.items() for _ in range(times)]
    random.shuffle(order)
    apart = SHOTS // AT_A_TIME // len(order)
    for name in order:
        wait_until(gate, len(gate.words()) + random.randrange(1, apart * 9 // 5))
        faults[name][1]()
    assert gate.process.wait(250) == 0


def wait_until(gate: GateUnderTest, words: int) -> None:
    deadline = monotonic() + PATIENCE_S
    while len(gate.words()) < words:
        assert gate.process.poll() is None and monotonic() < deadline, "the faults must come while shots do"
        sleep(0.005)


def test_whatever_dies_every_shot_is_acknowledged_and_a_second_copy_is_known_by_its_id(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    random, port = Random(SEED), free_port()
    gate = GateUnderTest(f"tcp://127.0.0.1:{port}", tmp_path / "s.db")
    with FaultProxy(port) as proxy:
        workers = Workers(WORKER, f"tcp://127.0.0.1:{proxy.port}", tmp_path)
        try:
            faults: dict[str, tuple[int, Callable[[], None]]] = {
                "worker": (WORKER_DEATHS, lambda: workers.kill(random.randrange(3))),
                "gate": (GATE_DEATHS, gate.kill),
                "reset": (RESETS, proxy.reset),
            }
            play(faults, gate, random)
        finally:
            end(gate.process, *workers.processes)
    received = workers.received()
    told, undelivered, grown_mb = gate.words()[-1].split()
    print(f"{SHOTS} shots, {received.total() - len(received)} second copies, gate grew by {grown_mb} MB")
    assert (told, undelivered) == ("end", "0")
    assert set(received) == everything(), "nothing is lost, and a copy carries the id of the first"
    spool = Spool(tmp_path / "s.db")
    assert len(spool) == 0
    spool.close()
    assert int(grown_mb) < MEMORY_MB


def everything() -> set[str]:
    return {make_shot(number).shot_id for number in range(SHOTS)}


def end(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        process.kill()
        process.wait()
