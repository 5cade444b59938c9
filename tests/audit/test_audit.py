"""The audit log: whatever is done to its entries is found, and a kill at any moment leaves it sound."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from facegate.audit import verification
from facegate.audit.log import AuditLog, Head, Use
from facegate.audit.verification import verify
from tests.helpers import facegate

DAY_S = 86_400.0
AT = 1_800_000_000.0


def use(number: int, at: float = AT) -> Use:
    return Use(at + number, "worker", "door", "MATCH", f"run/door/{number}", f'{{"name":"Ünal {number}"}}')


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Twenty entries."""
    with AuditLog(tmp_path / "audit.db", create=True) as made:
        for number in range(20):
            made.append(use(number))
    return tmp_path / "audit.db"


def change(path: Path, *statements: str) -> None:
    """As somebody who may write to the file does."""
    with closing(sqlite3.connect(path)) as db:
        for verb in ("UPDATE", "DELETE"):
            db.execute(f"DROP TRIGGER IF EXISTS audit_{verb}")
        for statement in statements:
            db.execute(statement)
        db.commit()


def test_a_log_is_sound_and_says_its_head(log: Path) -> None:
    found = verify(log)
    assert (found.entries, found.first, found.faults) == (20, 1, ())
    with AuditLog(log) as opened:
        newest = opened.page(limit=1)[0]
        assert found.head == Head(newest.id, newest.digest)
        opened.append(use(20), use(21))
    assert verify(log, found.head).faults == ()


SWAP = "UPDATE audit SET id = CASE id WHEN 7 THEN -8 ELSE -7 END WHERE id IN (7, 8)"


@pytest.mark.parametrize("chunk", [1, 3, 1000])
@pytest.mark.parametrize(
    ("statements", "fault"),
    [
        (["UPDATE audit SET who = 'nobody' WHERE id = 7"], "entry 7 does not follow"),
        (["UPDATE audit SET at = at + 1 WHERE id = 20"], "entry 20 does not follow"),
        (["UPDATE audit SET digest = 'x' WHERE id = 1"], "entry 1 does not follow"),
        (["DELETE FROM audit WHERE id = 7"], "entries 7 to 7 were removed"),
        (["DELETE FROM audit WHERE id BETWEEN 4 AND 9"], "entries 4 to 9 were removed"),
        (
            ["DELETE FROM audit WHERE id = 7", "UPDATE audit SET id = id - 1 WHERE id > 7"],
            "entry 7 does not follow",
        ),
        (["DELETE FROM audit WHERE id = 1"], "entries 1 to 1 were removed"),
        (["DELETE FROM audit WHERE id > 15"], "entries 16 to 20 were removed"),
        (["DELETE FROM audit"], "entries 1 to 20 were removed"),
        (
            ["DELETE FROM audit WHERE id < 7", "INSERT INTO trimmed SELECT 1, 6, 'x', 7"],
            "entries through 6 were removed, and no entry says",
        ),
        ([SWAP, "UPDATE audit SET id = -id WHERE id < 0"], "entry 7 does not follow"),
    ],
    ids=lambda value: None if isinstance(value, list) else value,
)
def test_whatever_is_changed_removed_or_reordered_is_found(
    log: Path, statements: list[str], fault: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "CHUNK", chunk)
    change(log, *statements)
    found = verify(log)
    assert any(line.startswith(fault) for line in found.faults), found


def test_the_same_is_found_by_several_processes(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "PARALLEL_FROM", 0)
    assert verify(log, processes=2).entries == 20
    change(log, "UPDATE audit SET status = 200 WHERE id = 13")
    assert verify(log, processes=2).faults == (
        "entry 13 does not follow from the one before it: one of them was changed",
    )


def test_an_older_copy_and_a_rewritten_log_are_found_by_a_head(log: Path, tmp_path: Path) -> None:
    shutil.copy(log, tmp_path / "older.db")
    with AuditLog(log) as opened:
        opened.append(use(20))
    head = verify(log).head
    with AuditLog(tmp_path / "rewritten.db", create=True) as made:
        made.append(*(use(number) for number in range(1, 22)))
    assert verify(tmp_path / "older.db").faults == () == verify(tmp_path / "rewritten.db").faults
    assert "the newest entries were cut off" in verify(tmp_path / "older.db", head).faults[0]
    assert "not the one that an earlier head names" in verify(tmp_path / "rewritten.db", head).faults[0]


def test_expired_entries_go_and_the_rest_still_proves_itself(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with AuditLog(path, create=True, days=200) as log:
        log.append(*(use(0, AT + number * 10 * DAY_S) for number in range(30)))
        head = verify(path).head
        now = AT + 295 * DAY_S
        log.trim(now - 6 * DAY_S, 1000.0)  # the clock is known from now on
        gone = log.trim(now, 1000.0 + 6 * DAY_S)
        assert gone and next(iter(log.entries())).at >= now - 200 * DAY_S
        found = verify(path, head)
        assert found.faults == () and found.first > 1
        assert log.trim(now + 20 * DAY_S, 1000.0 + 26 * DAY_S) == 2
        found = verify(path, head)
        assert found.faults == ()
        gap = found.first + 1
    change(path, f"DELETE FROM audit WHERE id = {gap}")
    assert f"entries {gap} to {gap} were removed" in verify(path).faults


def test_a_log_of_version_1_is_verified_and_goes_on(log: Path) -> None:
    with closing(sqlite3.connect(log)) as db:
        db.execute("DROP TABLE trimmed")
        db.execute("DROP INDEX audit_by_time")
        db.execute("PRAGMA user_version=1")
        db.commit()
    assert verify(log).faults == ()
    with AuditLog(log) as opened:
        opened.append(use(20))
    assert verify(log).entries == 21


WRITER = """
import sys
from pathlib import Path
import structlog
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
from facegate.audit.log import AuditLog, Use
with AuditLog(Path(sys.argv[1]), create=True, days=200) as log:
    number = 0
    while True:
        log.append(*(Use(1.8e9, "worker", "door", "MATCH", f"visit {number + k}", "{}") for k in range(3)))
        number += 3
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
"""


def test_a_kill_at_any_moment_leaves_it_sound_with_all_that_was_acknowledged(tmp_path: Path) -> None:
    path, acknowledged = tmp_path / "audit.db", 0
    for round_ in range(4):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None
            acknowledged += int(writer.stdout.readline())
        time.sleep(0.013 * round_)
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            acknowledged += 3 * writer.communicate()[0].count("\n")
        found = verify(path)
        assert found.faults == ()
        assert found.entries >= acknowledged and found.entries % 3 == 0


def test_the_command_says_what_is_wrong_and_takes_a_head(log: Path) -> None:
    done = facegate("audit", "verify", log)
    head = done.stdout.splitlines()[-1].removeprefix("head ")
    assert done.returncode == 0 and "20 entries, sound" in done.stdout
    assert facegate("audit", "verify", log, "--head", head).returncode == 0
    assert facegate("audit", "export", log).stdout.count("\n") == 21
    change(log, "DELETE FROM audit WHERE id = 20", "UPDATE sqlite_sequence SET seq = 19")
    assert verify(log).faults == (), "nothing in the file says so"
    done = facegate("audit", "verify", log, "--head", head)
    assert done.returncode == 1 and "the newest entries were cut off" in done.stdout
    assert facegate("audit", "verify", log, "--head", "7").returncode == 2
    assert facegate("audit", "verify", log.parent / "none.db").returncode == 1
