"""One console for what an operator does: two cameras that nobody reaches, enrolled people, and visits of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from urllib.parse import quote

import pytest

from facegate.demo.clip import DemoClip

from ...helpers import free_port
from ..serving import Served, served
from ..visits.crafted import CraftedVisit, craft, faces

LABEL = "Tür Süd 1"
"""Name for people of the camera ``door``; the other one has its own name only."""


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory, clip: DemoClip) -> Iterator[Served]:
    data = tmp_path_factory.mktemp("desk") / "data"
    now = datetime.now()
    with served(data) as console:
        for camera in ({"name": "door", "display_name": LABEL}, {"name": "yard"}):
            source = {"source": f"rtsp://127.0.0.1:{free_port()}/x"}
            assert console.api("POST", "/cameras", camera | source).status == 201
        for name, folder in zip(("Ada Lovelace", "José Müller"), sorted(clip.gallery.iterdir()), strict=False):
            picture = sorted(folder.iterdir())[0].read_bytes()
            answer = console.upload(f"/people/{quote(name)}/pictures", "files", picture)
            assert answer.status == 200, answer.body
        visits = [
            CraftedVisit(1, (now - timedelta(minutes=5)).timestamp(), "Ada Lovelace"),
            CraftedVisit(2, (now - timedelta(days=1)).timestamp(), "José Müller", person=1),
            CraftedVisit(3, (now - timedelta(minutes=3)).timestamp(), None, person=2),
            CraftedVisit(4, (now - timedelta(days=2)).timestamp(), "Ada Lovelace", "yard"),
        ]
        craft(data / "store.db", visits, faces(clip))
        yield console
