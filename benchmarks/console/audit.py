"""Time to verify an audit log of matches: ``python -m benchmarks.console.audit --entries 10000000``."""

from __future__ import annotations

import argparse
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec

from benchmarks.host_info import cpu
from facegate.audit.log import COLUMNS, AuditLog
from facegate.audit.verification import verify
from facegate.cpu import cores

DETAILS = (
    '{"name":"Ada Lovelace","corrected":false,"similarity":0.6123,"fpir":0.000012,"threshold":0.3471,'
    '"gallery":"9f86d081884c7d65","shot_id":"5e884898da280471","sha256":"%064x"}'
)


def build(path: Path, entries: int) -> None:
    """Write a log of matches as a worker does, without waiting for the disk at each."""
    AuditLog(path, create=True).close()
    digest = ""

    def rows() -> Iterator[tuple[float | str, ...]]:
        nonlocal digest
        for number in range(entries):
            visit = f"f3a1c2d4e5f60718/entrance/{number}"
            values = (1.8e9 + number * 0.7, "worker", "entrance", "MATCH", visit, DETAILS % number, 0)
            digest = hashlib.sha256(msgspec.json.encode([digest, *values])).hexdigest()
            yield (*values, digest)

    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous=OFF")
        db.execute("BEGIN")
        db.executemany(f"INSERT INTO audit ({COLUMNS}, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows())
        db.execute("COMMIT")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help="where the log is written")
    given = parser.parse_args()
    print(cpu())
    with TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "audit.db"
        build(path, given.entries)
        print(f"{given.entries} entries, {path.stat().st_size / 1e9:.2f} GB")
        for processes in sorted({cores(), 1}, reverse=True):
            began = perf_counter()
            found = verify(path, processes=processes)
            assert found.entries == given.entries and not found.faults
            print(f"verified by {processes} processes in {perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
