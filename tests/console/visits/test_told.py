"""What somebody corrects at the console is no news to those who are notified of visits."""

from __future__ import annotations

from pathlib import Path

from facegate.console.notifications.rules import visit_event
from facegate.store.reader import StoreReader
from facegate.store.writer import StoreWriter

from ...store.test_store import entry, news


def test_a_correction_notifies_nobody_and_its_undo_repeats_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with StoreWriter(path, create=True) as writer, StoreReader(path) as reader:

        def told() -> str | None:
            visit = reader.visit("run/door/0")
            event = None if visit is None else visit_event(visit)
            return None if event is None else event.key

        writer.add_shots([entry(1)])
        writer.update_visits([news(0, "Ada", ended=True)])
        before = told()
        assert before is not None and "Ada" in before
        writer.correct("run/door/0", "Bob", 5000.0)
        assert told() is None
        writer.correct("run/door/0", "Ada", None)
        assert told() == before
