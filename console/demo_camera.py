"""The demonstration's camera for the console: real faces on a loop, behind a real RTSP address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facegate.console.processes.config_file import ConfigFile
from facegate.demo.clip import make_clip
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer

NAME = "demo"


@contextmanager
def demo_camera(config: Path, data: Path) -> Iterator[str]:
    """Serve the clip while the context is open, and have the camera in the configuration; yields its address.

    Raises:
        ModelError: the photographs are not where the ``insightface`` package keeps them.
        ConfigError: the configuration cannot be changed.
    """
    clip = data / "demo" / "clip.mp4"
    if not clip.is_file():
        make_clip(clip.parent)
    file = ConfigFile(config)
    with RtspServer(Movie(clip), loop=True) as server:
        file.change(lambda content: _point(content, server.url))
        yield server.url


def _point(content: Any, url: str) -> None:
    for camera in content["cameras"]:
        if camera["name"] == NAME:
            camera["source"] = url  # another port than last time
            return
    content["cameras"].append({"name": NAME, "source": url, "max_fps": 5})
