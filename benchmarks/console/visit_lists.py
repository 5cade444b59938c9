"""Lists of the console over a million shots: the time of a page for every filter.

    python -m benchmarks.console.visit_lists                   # a million shots, about five minutes to write
    python -m benchmarks.console.visit_lists --shots 100000 --json lists.json

Shots of 30 cameras and 400 known people over 30 days, two of three visits without a name. Every combination of
camera, name, known, period, quality and kind is asked for the newest page and a page from the middle. The median is
that of pages with a row; ``until_found`` includes the next pages where none of the first 30,000 rows matches.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from benchmarks.host_info import cpu
from facegate.store.reader import StoreReader, VisitFilter
from facegate.store.writer import StoreWriter

CAMERAS, PEOPLE, DAYS = 30, 400, 30
NOW = 1_700_000_000.0
HEADER, CROP = bytes(1000), bytes(3000)
CHUNK = 5000
LIMIT = 60


class _Filler(StoreWriter):
    def fill(self, shots: int) -> None:
        draw = random.Random(1)
        for start in range(0, shots, CHUNK):
            with self._transaction():
                for number in range(start, min(start + CHUNK, shots)):
                    self._fill_one(number, shots, draw)

    def _fill_one(self, number: int, shots: int, draw: random.Random) -> None:
        seen = NOW - DAYS * 86_400 * (1 - number / shots)
        visit_number = number // 2
        camera = f"camera-{visit_number % CAMERAS:02}"
        visit = f"run/{camera}/{visit_number}"
        name = f"Person {visit_number % PEOPLE:03}" if visit_number % 3 == 0 else None
        quality = min(100, int(draw.expovariate(1 / 25)))
        reason = "shadow" if number % 50 == 7 else "improved"
        row = self._db.execute(
            "INSERT INTO shots (shot_id, visit, camera, seen, quality, rank, reason, name, header) "
            "VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?) RETURNING id",
            (
                f"{number:032x}",
                visit,
                camera,
                seen,
                quality,
                reason,
                name,
                HEADER,
            ),
        ).fetchone()
        self._db.execute("INSERT INTO crops VALUES (?, ?)", (row[0], CROP))
        self._make_visit(visit, camera, visit_number, seen)
        self._db.execute(
            "UPDATE visits SET shots = shots + 1, last = ?, quality = max(quality, ?), name = ?, ended = 1, "
            "revision = ? WHERE visit = ?",
            (seen, quality, name, number, visit),
        )


def filters(shots: bool) -> Iterator[VisitFilter]:
    """Every combination of the filters."""
    periods = ((None, None), (NOW - 86_400, None), (NOW - 3 * 86_400, NOW - 2 * 86_400), (None, NOW - 29 * 86_400))
    for camera, name, known, (since, until), least, shadow in product(
        (None, "camera-07", "no such camera"),
        (None, "Person 012", "Nobody"),
        (None, True, False),
        periods,
        (None, 40, 95),
        (None, True, False) if shots else (None,),
    ):
        yield VisitFilter(
            camera=camera, name=name, known=known, since=since, until=until, min_quality=least, shadow=shadow
        )


def measure(store: StoreReader, shots: bool, middle: int) -> dict[str, Any]:
    """Milliseconds of a page over all filters."""
    newest, between, filled, full = list[float](), list[float](), list[float](), list[float]()
    slowest: tuple[float, VisitFilter | None] = (0.0, None)
    read = store.shots if shots else store.visits
    for each in filters(shots):
        for before, times in ((None, newest), (middle, between)):
            started = perf_counter()
            page = read(each, before, LIMIT)
            spent = 1000 * (perf_counter() - started)
            times.append(spent)
            if page.items:
                filled.append(spent)
            slowest = max(slowest, (spent, each), key=lambda pair: pair[0])
            while page.next is not None and not page.items:
                page = read(each, page.next, LIMIT)
            full.append(1000 * (perf_counter() - started))
    pages = newest + between
    return {
        "filters": len(newest),
        "median_ms": round(statistics.median(filled), 2),
        "p99_ms": round(statistics.quantiles(pages, n=100)[98], 2),
        "worst_ms": round(max(pages), 2),
        "worst_filter": {
            key: value
            for key, value in (msgspec.structs.asdict(slowest[1]) if slowest[1] else {}).items()
            if value is not None
        },
        "until_found_worst_ms": round(max(full), 2),
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        started = perf_counter()
        with _Filler(path, create=True) as filler:
            filler.fill(arguments.shots)
        sys.stderr.write(f"written in {perf_counter() - started:.0f} s, {path.stat().st_size / 1e9:.2f} GB\n")
        with StoreReader(path) as store:
            report = {
                "processor": cpu(),
                "shots": arguments.shots,
                "shots_lists": measure(store, True, arguments.shots // 2),
                "visits_lists": measure(store, False, arguments.shots // 4),
            }
            started = perf_counter()
            names = store.names()
            report["names_ms"] = round(1000 * (perf_counter() - started), 2)
            report["names"] = len(names)
    print(json.dumps(report, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
