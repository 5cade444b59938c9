"""A worker, a console and 200 changes of the gallery from other processes, all killed at random; and a store.

``python -m benchmarks.endurance [--quick] [--no-console]``; exit code 1 where a change was not known within five
seconds, or a file was not whole after a kill.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from contextlib import closing
from datetime import datetime
from pathlib import Path
from random import Random
from time import monotonic, sleep, time

from facegate.database import connect
from facegate.recognition.enrollment.gallery_store import GalleryStore

KNOWN_S = 5.0
SLACK_S = 0.25
"""A change may be seen this long before the process that made it says so."""
READY_S = 90.0
NEWS = ("gallery reloaded", "worker ready")


class WorkerProcess:
    """``facegate recognize`` with a log that is read, started again when it was killed."""

    def __init__(self, gallery: Path, log: Path) -> None:
        self._gallery, self.log = gallery, log
        self.starts: list[float] = []
        self.start()

    def start(self) -> None:
        self.starts.append(time())
        command = [sys.executable, "-m", "facegate", "--log-json", "recognize", "--gallery", str(self._gallery)]
        command += [
            "--embedder",
            "builtin",
            "--connect",
            f"ipc://{self.log.parent}/nobody",
            "--output",
            "/dev/null",
        ]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(command, stderr=out, stdout=out)

    def lines(self) -> list[tuple[float, str, int]]:
        """When it knew the gallery, by which event, and how many people there were."""
        found = []
        for line in self.log.read_text().splitlines():
            try:
                item = json.loads(line)
            except ValueError:
                continue
            if item.get("event") in NEWS:
                at = datetime.fromisoformat(item["timestamp"].replace("Z", "+00:00")).timestamp()
                found.append((at, str(item["event"]), int(item["people"])))
        return found

    def wait_ready(self) -> None:
        """Until it knows the gallery."""
        deadline = monotonic() + READY_S
        while not any(at >= self.starts[-1] for at, _, _ in self.lines()):
            assert self.process.poll() is None and monotonic() < deadline, self.log.read_text()[-2000:]
            sleep(0.1)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def actor(what: str, path: Path, seed: int, *, stdout: int | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.endurance.actors", what, str(path), str(seed)]
    where = subprocess.DEVNULL if stdout is None else stdout
    return subprocess.Popen(command, stdout=where, stderr=subprocess.DEVNULL, text=True)


def whole(path: Path) -> bool:
    with closing(connect(path)) as db:
        return db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def gallery(folder: Path, changes: int, kills: int, console: bool, random: Random) -> dict[str, object]:
    path = folder / "people.db"
    with GalleryStore(path, create=True):
        pass
    for seed in range(8):
        with actor("change", path, seed) as process:
            process.wait()
    worker = WorkerProcess(path, folder / "worker.log")
    served = serve(folder) if console else None
    worker.wait_ready()
    made: list[float] = []
    killed = {"worker": 0, "console": 0, "change": 0}
    damaged = 0
    kill_at = sorted(random.sample(range(changes), kills))
    for number in range(changes):
        before = revision(path)
        process = actor("change", path, 1000 + number, stdout=subprocess.PIPE)
        if number in kill_at:
            victim = random.choice(["worker", "change", *(["console"] if console else [])])
            killed[victim] += 1
            sleep(random.uniform(0, 0.8))
            if victim == "worker":
                worker.kill()
                worker.start()
            elif victim == "console":
                assert served is not None
                served.kill()
                served.wait()
                served = serve(folder)
            else:
                process.kill()
            damaged += not whole(path)
        said = process.communicate()[0].strip()
        if revision(path) != before:
            made.append(float(said) if said else time())
        if number in kill_at:
            worker.wait_ready()
        sleep(random.uniform(0, 0.4))
    sleep(KNOWN_S)
    late = [wait for at in made if (wait := known_after(worker, at)) > KNOWN_S]
    waits = [known_after(worker, at) for at in made]
    with GalleryStore(path) as people:
        enrolled = len({person.name for person in people.people() if person.pictures})
    knows = worker.lines()[-1][2]
    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait()
    if served is not None:
        served.terminate()
        served.wait()
    return {
        "changes": len(made), "killed": killed, "late": len(late), "longest_s": round(max(waits), 2),
        "people": enrolled, "worker_knows": knows, "damaged": damaged + (not whole(path)),
    }  # fmt: skip


def serve(folder: Path) -> subprocess.Popen[bytes]:
    log = (folder / "console.log").open("ab")
    command = [sys.executable, "-m", "facegate", "serve", "--data", str(folder), "--listen", "127.0.0.1:0"]
    with log:
        return subprocess.Popen([*command, "--embedder", "builtin"], stdout=log, stderr=log)


def revision(path: Path) -> int:
    with closing(connect(path)) as db:
        return int(db.execute("SELECT number FROM revision").fetchone()[0])


def known_after(worker: WorkerProcess, at: float) -> float:
    """Seconds until the worker knew of a change, from its start where it was killed meanwhile."""
    known = min((seen for seen, _, _ in worker.lines() if seen >= at - SLACK_S), default=at + 1e9)
    started = max((start for start in worker.starts if at - SLACK_S <= start <= known), default=None)
    return 0.0 if started is not None else max(0.0, known - at)


def store(folder: Path, kills: int, random: Random) -> dict[str, object]:
    path = folder / "store.db"
    seed, damaged = 0, 0
    kept: list[str] = []
    running: list[tuple[str, subprocess.Popen[str]]] = []
    outputs: list[tuple[Path, subprocess.Popen[str]]] = []

    def start(what: str) -> None:
        nonlocal seed
        seed += 1
        out = folder / f"{what}-{seed}.out"
        with out.open("wb") as file:
            running.append((what, actor(what, path, seed, stdout=file.fileno())))
        outputs.append((out, running[-1][1]))

    for what in ("write", "write", "read", "tidy"):
        start(what)
    while not path.is_file():
        sleep(0.05)
    sleep(2)
    for _ in range(kills):
        sleep(random.uniform(0.3, 1.0))
        what, victim = running.pop(random.randrange(len(running)))
        victim.kill()
        victim.wait()
        damaged += not whole(path)
        start(what)
    for _, process in running:
        process.kill()
        process.wait()
    for out, _ in outputs:
        kept += [line for line in out.read_text().split("\n")[:-1] if line]
    with closing(connect(path)) as db:
        there = {row[0] for row in db.execute("SELECT visit FROM visits")}
    lost = len(set(kept) - there)
    return {"kills": kills, "visits": len(kept), "lost": lost, "damaged": damaged + (not whole(path))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Twelve changes and six kills, without a console.")
    parser.add_argument("--no-console", action="store_true")
    parser.add_argument("--changes", type=int, default=None)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    random = Random(arguments.seed)
    changes = arguments.changes or (12 if arguments.quick else 200)
    with tempfile.TemporaryDirectory(prefix="endurance-") as name:
        folder = Path(name)
        console = not (arguments.quick or arguments.no_console)
        found = {
            "gallery": gallery(folder, changes, max(2, changes // 10), console, random),
            "store": store(folder, 4 if arguments.quick else 60, random),
        }
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    of_gallery, of_store = found["gallery"], found["store"]
    fine = not (of_gallery["late"] or of_gallery["damaged"] or of_store["damaged"] or of_store["lost"])
    sys.exit(0 if fine and of_gallery["people"] == of_gallery["worker_knows"] else 1)


if __name__ == "__main__":
    main()
