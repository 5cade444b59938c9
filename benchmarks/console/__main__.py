"""What the console costs while nobody and while two browsers watch sixteen cameras, and how it answers when full.

    python -m benchmarks.console --watch            # processor time, interleaved windows, medians
    python -m benchmarks.console --pages 1000000    # pages with this many shots in the store; lists: visit_lists
    python -m benchmarks.console --score            # fifty clients' pictures at once, and one by one

Needs Chromium. The browsers' own time is theirs and not counted.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter, sleep, time
from typing import Any

import msgspec
import psutil
from playwright.sync_api import Browser, sync_playwright

from benchmarks.host_info import cpu
from facegate.demo.clip import make_clip
from facegate.store.writer import StoreWriter
from tests.console.serving import Served, served
from tests.store.test_store import entry, news

CAMERAS, PROCESSED_FPS = 16, 5
WINDOW_S, ROUNDS = 12.0, 5
BROWSERS = 2
CLIENTS = 50
CHUNK = 2000
SHOWN = "[...document.querySelectorAll('canvas')].filter((each) => each.width !== 640).length"
"""Tiles that have had a picture."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--watch", action="store_true")
    parser.add_argument("--pages", type=int, metavar="SHOTS")
    parser.add_argument("--score", action="store_true", help="POST /score, fifty at once and one by one.")
    parser.add_argument("--hour", action="store_true", help="Memory over an hour's events, sent in a few minutes.")
    arguments = parser.parse_args()
    print(cpu())
    with tempfile.TemporaryDirectory() as folder:
        if arguments.watch:
            watch(Path(folder))
        if arguments.pages:
            pages(Path(folder), arguments.pages)
        if arguments.score:
            score(Path(folder))
        if arguments.hour:
            hour(Path(folder))


def score(folder: Path) -> None:
    """Seconds for fifty pictures, sent by fifty clients at once and by one after another, in turn."""
    sent = [file.read_bytes() for file in sorted(make_clip(folder).gallery.glob("*/1.png"))]
    pictures = [sent[i % len(sent)] for i in range(CLIENTS)]
    spent: dict[str, list[float]] = {"one by one": [], "at once": []}
    with served(folder / "data") as console, ThreadPoolExecutor(CLIENTS) as pool:
        ask = partial(console.upload, "/score", "picture")
        assert {ask(picture).status for picture in pictures} == {200}
        for _ in range(ROUNDS):
            start = perf_counter()
            assert {ask(picture).status for picture in pictures} == {200}
            between = perf_counter()
            assert {answer.status for answer in pool.map(ask, pictures)} == {200}
            spent["one by one"].append(between - start)
            spent["at once"].append(perf_counter() - between)
    each = {how: statistics.median(seconds) for how, seconds in spent.items()}
    print(
        f"{CLIENTS} pictures: one by one {each['one by one']:.2f} s, at once {each['at once']:.2f} s "
        f"({each['at once'] / each['one by one']:.2f})"
    )


def watch(folder: Path) -> None:
    """Processor time of console and gate, while two browsers show all tiles and while nobody does."""
    clip = make_clip(folder / "clip").path
    with camera(clip) as url, ExitStack() as stack:
        config = folder / "cameras.yaml"
        # A detector that rarely runs: the cost of the pages is measured, and two cores must not be full.
        cameras = "".join(
            f"  - {{name: c{n}, source: '{url}', max_fps: {PROCESSED_FPS}}}\n" for n in range(CAMERAS)
        )
        config.write_text(f"detector: {{max_side: 160, min_face_px: 100}}\ncameras:\n{cameras}")
        console = stack.enter_context(served(folder / "data", config=config))
        console.until("/cameras", lambda found: all(each["state"] == "live" for each in found["cameras"]))
        sleep(5)
        browser = stack.enter_context(chromium())
        spent: dict[str, list[tuple[float, float]]] = {"unwatched": [], "watched": []}
        for _ in range(ROUNDS):
            spent["unwatched"].append(cores(console))
            pages = [browser.new_page(viewport={"width": 1600, "height": 1400}) for _ in range(BROWSERS)]
            for page in pages:
                page.goto(f"{console.url}/live")
                page.locator("canvas").nth(CAMERAS - 1).wait_for()
            sleep(2)
            spent["watched"].append(cores(console))
            shown = [
                page.evaluate("[...document.querySelectorAll('canvas')].filter((c) => c.width !== 640).length")
                for page in pages
            ]
            for page in pages:
                page.close()
            sleep(2)
        fps = sum(each["processed_fps"] for each in console.get("/cameras")["cameras"])
        print(f"{CAMERAS} cameras, {fps:.1f} fps, tiles with pictures in each browser: {shown}")
        for name, found in spent.items():
            own, gate = (statistics.median(each) for each in zip(*found, strict=True))
            print(f"{name:10} console {own:.3f} cores, gate {gate:.3f}")
        more = [sum(w) - sum(u) for w, u in zip(spent["watched"], spent["unwatched"], strict=True)]
        rounds = [round(each, 3) for each in more]
        print(f"watched by {BROWSERS} browsers: {statistics.median(more):+.3f} cores (each round: {rounds})")


def cores(console: Served) -> tuple[float, float]:
    """Of the console's process and of the gate's, over a window."""
    processes = psutil.Process(console.process.pid), psutil.Process(console.get("/health")["gate"]["pid"])
    before = [sum(each.cpu_times()[:2]) for each in processes]
    sleep(WINDOW_S)
    after = [sum(each.cpu_times()[:2]) for each in processes]
    return (after[0] - before[0]) / WINDOW_S, (after[1] - before[1]) / WINDOW_S


def pages(folder: Path, shots: int) -> None:
    """Pages in a browser, over a store with this many shots."""
    data = folder / "full"
    data.mkdir()
    fill(data / "store.db", shots)
    size = sum(file.stat().st_size for file in data.glob("store.db*"))
    with served(data) as console, chromium() as browser:
        print(f"{shots} shots, {size / 1e9:.2f} GB")
        for page_name in ("visits", "cameras", "health"):
            times = []
            for _ in range(5):
                page = browser.new_page()
                began = perf_counter()
                page.goto(f"{console.url}/{page_name}")
                page.locator("#content:not([aria-busy])").wait_for()
                if page_name == "visits":
                    page.locator(".face img").nth(5).wait_for()
                times.append(perf_counter() - began)
                page.close()
            print(f"page {page_name:9} median {statistics.median(times):.2f} s, worst {max(times):.2f} s")


def hour(folder: Path) -> None:
    """Memory of the console while two pages are open and an hour's events of sixteen busy cameras come."""
    data = folder / "hour"
    data.mkdir()
    fill(data / "store.db", 100)
    with served(data) as console, chromium() as browser, StoreWriter(data / "store.db") as store:
        opened = [browser.new_page() for _ in range(BROWSERS)]
        for page in opened:
            page.goto(f"{console.url}/visits")
            page.locator(".face").first.wait_for()
        process = psutil.Process(console.process.pid)
        for tenth in range(11):
            heap = [page.evaluate("performance.memory.usedJSHeapSize / 1e6") for page in opened]
            print(f"after {tenth * 2400:6} visits: console {process.memory_info().rss / 1e6:.0f} MB, pages {heap}")
            for n in range(2400 if tenth < 10 else 0):
                number = 10_000 + 2400 * tenth + n
                store.add_shots([entry(number, track=number)])
                store.update_visits([news(number, f"P{n % 9}" if n % 3 else None, ended=True)])
                sleep(0.005)


def fill(path: Path, shots: int) -> None:
    """A store as a year of a busy site leaves it: two shots a visit, sixteen cameras, a third with names."""
    rng = random.Random(7)
    template = entry(0)
    header = msgspec.msgpack.decode(template.header)
    now = time()
    with StoreWriter(path, create=True) as store:
        for start in range(0, shots, CHUNK):
            batch, known = [], []
            for n in range(start, min(start + CHUNK, shots)):
                track = n // 2
                camera = f"c{track % CAMERAS}"
                own: dict[str, Any] = header | {
                    "shot_id": f"{n:032x}",
                    "camera": camera,
                    "track_id": track,
                    "received_at": now - 30 * 86400 * (1 - n / shots),
                    "reason": "shadow" if n % 50 == 0 else "track_ended",
                    "quality": header["quality"] | {"value": min(99, int(rng.gauss(45, 15)) % 100)},
                }
                batch.append(
                    msgspec.structs.replace(
                        template,
                        shot_id=own["shot_id"],
                        camera=camera,
                        track_id=track,
                        header=msgspec.msgpack.encode(own),
                    )
                )
                if n % 2 and track % 3 == 0:
                    known.append(
                        msgspec.structs.replace(
                            news(track, f"P{track % 40}", ended=True), visit=f"run/{camera}/{track}", camera=camera
                        )
                    )
            store.add_shots(batch)
            store.update_visits(known)


@contextmanager
def camera(clip: Path) -> Iterator[str]:
    """An RTSP server in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "facegate.demo.rtsp.server", str(clip)], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


@contextmanager
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        raise SystemExit("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--enable-precise-memory-info"]
        )
        yield browser
        browser.close()


if __name__ == "__main__":
    main()
