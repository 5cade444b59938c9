"""The processes that are killed: changes of a gallery; writers, readers and retention of a store."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path
from random import Random
from time import sleep, time

import numpy as np

from facegate.clock import FileClock, elapsed_s
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.records import FaceSample
from facegate.store.reader import StoreReader
from facegate.store.records import VisitUpdate
from facegate.store.retention import Retention, RetentionLimits
from facegate.store.writer import StoreWriter


def look(number: int) -> FaceSample:
    crop = np.random.default_rng(number).integers(0, 255, (112, 112, 3), np.uint8)
    return FaceSample(f"{number}.png", f"digest{number}", crop, 80, 112.0, 0.0, 1)


def change(path: Path, seed: int) -> None:
    """Add, rename, remove or merge somebody at random, and say when that was done."""
    random = Random(seed)
    with GalleryStore(path) as people:
        names = [person.name for person in people.people()]
        what = random.choice(("add", "rename", "remove", "merge")) if len(names) > 5 else "add"
        if what == "add":
            people.add(f"person {seed}", [look(2 * seed), look(2 * seed + 1)])
        elif what == "rename":
            people.rename(random.choice(names), f"renamed {seed}")
        elif what == "remove":
            people.remove(random.choice(names))
        else:
            people.merge(*random.sample(names, 2))
        sys.stdout.write(f"{time()}\n")
        sys.stdout.flush()


def write(path: Path, seed: int) -> None:
    """Keep visits, and say of each when it is kept."""
    with StoreWriter(path, create=True) as store:
        for number in count():
            visit = f"{seed}/door/{number}"
            store.update_visits(
                [VisitUpdate(visit, "door", number, f"person {number % 7}", 0.9, 0.1, 1e-3, time(), "ended")]
            )
            sys.stdout.write(visit + "\n")
            sys.stdout.flush()
            if number % 50 == 49:
                store.rename(f"person {number % 7}", f"person {(number + 1) % 7}")


def read(path: Path, seed: int) -> None:
    """Page through it."""
    del seed
    with StoreReader(path, create=True) as store:
        while True:
            store.changes(max(0, store.revision() - 20))
            store.count()


def tidy(path: Path, seed: int) -> None:
    """Remove what is old, as a console does every minute."""
    del seed
    clock = FileClock("store")
    while True:
        with Retention(path) as retention:
            now = time()
            by_age = retention.trusts(clock, now, elapsed_s())
            retention.apply(path.parent / "recordings", RetentionLimits(days=30, max_mb=10_000), now, by_age=by_age)
        sleep(0.05)


ACTORS = {"change": change, "write": write, "read": read, "tidy": tidy}

if __name__ == "__main__":
    ACTORS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
