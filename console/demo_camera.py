"""Demonstration camera: a looped clip with real faces, served over RTSP."""

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
    """Serve the clip and add the camera to the configuration while the context is open; yields its URL.

    Raises:
        ModelError: the photographs of the ``insightface`` package are missing.
        ConfigError: the configuration cannot be changed.
    """
    clip = data / "demo" / "clip.mp4"
    if not clip.is_file():
        make_clip(clip.parent)
    file = ConfigFile(config)
    with RtspServer(Movie(clip), loop=True) as server:
        file.change(lambda content: _set_camera(content, server.url))
        yield server.url


def _set_camera(content: Any, url: str) -> None:
    for camera in content["cameras"]:
        if camera["name"] == NAME:
            camera["source"] = url  # the port differs from the last run
            return
    content["cameras"].append({"name": NAME, "source": url, "max_fps": 5})
