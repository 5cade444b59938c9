"""What a fleet does: in simulated time with thousands of cameras, and one host with one gate and with several.

python -m benchmarks.fleet --simulate 2000 100     # cameras, gates: moves, balance, messages, convergence
python -m benchmarks.fleet --up 2 --cameras 16     # processed fps of 'fleet up' with N nodes against one
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep

from benchmarks.fleet.world import World
from benchmarks.host_info import cpu
from facegate.demo.clip import make_clip
from facegate.errors import FacegateError
from facegate.fleet import admin
from facegate.fleet.bucket import parse
from facegate.fleet.placement import place
from facegate.fleet.records import CameraRequest, NodeCapacity, NodeStatus

ROUNDS, WARM_S, WINDOW_S = 3, 20.0, 20.0
CAPACITY, COST, MOST = 100.0, 5.0, 64
PROCESSED_FPS = 5
RESTED_S = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--simulate", nargs=2, type=int, metavar=("CAMERAS", "GATES"))
    parser.add_argument("--up", type=int, metavar="GATES")
    parser.add_argument(
        "--cameras",
        type=int,
        default=16,
        help="Number of cameras with --up; each needs five processed frames per second.",
    )
    arguments = parser.parse_args()
    print(cpu())
    if arguments.simulate:
        simulate(*arguments.simulate)
    if arguments.up:
        up(arguments.up, arguments.cameras)


class Remembered:
    """Placement whose answers are remembered: a hundred gates would compute the same a hundred times."""

    def __init__(self) -> None:
        self._known: dict[object, dict[str, str]] = {}

    def __call__(
        self, requests: Sequence[CameraRequest], nodes: Sequence[NodeCapacity], owners: Mapping[str, str]
    ) -> dict[str, str]:
        asked = (tuple(requests), tuple(nodes), tuple(sorted(owners.items())))
        if asked not in self._known:
            if len(self._known) > 64:
                self._known.clear()
            self._known[asked] = place(requests, nodes, owners)
        return dict(self._known[asked])


def simulate(cameras: int, gates: int) -> None:
    """A fleet begins, rests, loses a gate and gets one."""
    requests = [CameraRequest(f"camera-{index}", COST) for index in range(cameras)]
    nodes = [NodeCapacity(f"g{index}", "h", (), CAPACITY, MOST) for index in range(gates)]
    began = perf_counter()
    plan = place(requests, nodes, {})
    first = perf_counter() - began
    began = perf_counter()
    place(requests, nodes, plan)
    print(
        f"placement: {first:.2f} s from nothing, {1000 * (perf_counter() - began):.1f} ms when nothing has changed"
    )
    world = World(1, requests, Remembered())
    for _ in range(gates):
        world.join(NodeStatus(host="h", capacity=CAPACITY, max_cameras=MOST))
    told(world, "begun", {})
    world.bucket.writes.clear()
    world.run(RESTED_S)
    print(f"at rest: {sum(world.bucket.writes.values()) / RESTED_S:.1f} messages/s")
    owners = world.bucket.owners()
    victim = max(Counter(owners.values()).items(), key=lambda item: item[1])[0]
    world.gates[victim].dead = True
    told(world, f"one has died, which had {Counter(owners.values())[victim]}", owners)
    owners = world.bucket.owners()
    world.join(NodeStatus(host="h", capacity=CAPACITY, max_cameras=MOST))
    told(world, f"one has come, whose share is {cameras / gates:.0f}", owners)


def told(world: World, what: str, before: Mapping[str, str]) -> None:
    """Let it settle, and say how long that took and what has moved."""
    began, changed = world.now, world.now
    seen = world.bucket.owners()
    for _ in range(60):
        world.run(0.25)
        now = world.bucket.owners()
        if now != seen:
            changed, seen = world.now, now
    counts = Counter(seen.values())
    moved = sum(before[camera] != gate for camera, gate in seen.items()) if before else len(seen)
    print(
        f"{what}: {moved} moved, the last after {changed - began:.1f} s; {min(counts.values())} to "
        f"{max(counts.values())} cameras a gate, {len(world.unwatched_since)} unwatched, {world.twice_s:g} s twice"
    )


def up(gates: int, cameras: int) -> None:
    """Processed frames per second of all nodes, interleaved with one node on the same cores."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = make_clip(folder).path
        with camera(clip) as url:
            base = url.removesuffix("/live")
            site = folder / "site.yaml"
            site.write_text(
                "cameras:\n"
                + "".join(
                    f"  - {{name: c{n}, source: '{base}/c{n}', max_fps: {PROCESSED_FPS}, idle_fps: null}}\n"
                    for n in range(cameras)
                )
            )
            found: dict[int, list[float]] = {1: [], gates: []}
            for index in range(ROUNDS):
                for count in (1, gates) if index % 2 == 0 else (gates, 1):
                    found[count].append(processed_fps(site, folder / f"data-{index}-{count}", count, 4300 + index))
                    print(f"{count} gates: {found[count][-1]:.1f} fps", flush=True)
    one, many = (statistics.median(found[count]) for count in (1, gates))
    print(f"{cameras} cameras: {one:.1f} fps with one gate, {many:.1f} with {gates}: {many / one:.2f}")


def processed_fps(site: Path, data: Path, gates: int, port: int) -> float:
    """Of one fleet, in a window after it has warmed up."""
    process = subprocess.Popen(
        [sys.executable, "-m", "facegate", "fleet", "up", str(site), "--gates", str(gates),
         "--data", str(data), "--port", str(port)],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        place_of_fleet = parse(f"nats://127.0.0.1:{port}")
        sums = []
        sleep(WARM_S)
        for _ in range(int(WINDOW_S / 2)):
            sleep(2.0)
            try:
                status = admin.run(admin.status(place_of_fleet))
            except FacegateError:
                continue
            sums.append(sum(each.processed_fps for each in status.cameras.values()))
        return statistics.mean(sums)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def camera(clip: Path) -> Iterator[str]:
    """A server in a process of its own."""
    command = [sys.executable, "-m", "facegate.demo.rtsp.server", str(clip)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.kill()


if __name__ == "__main__":
    main()
