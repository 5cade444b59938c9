"""One console with the demo's camera for the tests that only look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from facegate.demo.clip import DemoClip
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer

from .serving import Served, served


@pytest.fixture(scope="session")
def camera_url(clip: DemoClip) -> Iterator[str]:
    """The demo's clip on a loop."""
    with RtspServer(Movie(clip.path), loop=True) as server:
        yield server.url


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory, camera_url: str) -> Iterator[Served]:
    """A console that has seen visits."""
    data: Path = tmp_path_factory.mktemp("console") / "data"
    with served(data) as found:
        added = found.api("POST", "/cameras", {"name": "door", "source": camera_url, "max_fps": 5})
        assert added.status == 201, added.body
        found.until("/visits", lambda page: sum(visit["answered"] for visit in page["visits"]) >= 3)
        yield found
