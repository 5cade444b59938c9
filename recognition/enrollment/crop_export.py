"""A gallery as a folder of crops."""

from __future__ import annotations

import shutil
from pathlib import Path

from facegate.errors import ConfigError, FacegateError, os_errors
from facegate.pipeline.images import write_png
from facegate.recognition.enrollment.gallery_store import GalleryStore


def export_crops(people: GalleryStore, to: Path) -> int:
    """Write all enrolled crops as ``to/NAME/NUMBER.png``, all or none; return how many.

    Raises:
        ConfigError: the folder is not empty, or cannot be written.
    """
    with os_errors(ConfigError, f"cannot write to {to}", "give a new folder"):
        is_new = not to.exists()
        if not is_new and any(to.iterdir()):
            raise ConfigError(f"{to} is not empty: give a new folder")
    pictures = [picture for picture in people.pictures() if picture.kind == "enrolled"]
    try:
        with os_errors(ConfigError, f"cannot write to {to}", "give a new folder"):
            for picture in pictures:
                (folder := to / picture.person).mkdir(parents=True, exist_ok=True)
                write_png(folder / f"{picture.row}.png", people.crop(picture.row))
    except FacegateError:  # some of the crops would pass for all
        for person in {picture.person for picture in pictures}:
            shutil.rmtree(to / person, ignore_errors=True)
        if is_new:
            shutil.rmtree(to, ignore_errors=True)
        raise
    return len(pictures)
