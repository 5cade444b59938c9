"""Build hook: the top-level folders are parts of the ``facegate`` package.

They are mapped into a wheel as ``facegate/FOLDER``. For an editable install, and for tools that read the tree, they
are linked into ``src/facegate/``, which Git ignores: no link is ever committed, so an archive of the repository
installs anywhere. ``python hatch_build.py`` makes the links alone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script, before anything is installed
    BuildHookInterface = object

FOLDERS = (
    "configs",
    "console",
    "demo",
    "deploy",
    "detectors",
    "evaluation",
    "fleet",
    "maintenance",
    "pipeline",
    "recognition",
    "scoring",
    "sinks",
    "store",
    "training",
)
DEVELOPMENT = ("training", "evaluation/research")
"""Parts that only a checkout needs: linked, never packed."""


def packed_files(root: Path) -> dict[str, str]:
    """Every file that belongs in a wheel, by its absolute path, with its path in the wheel."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            relative = path.relative_to(root).as_posix()
            development = relative.startswith(tuple(f"{part}/" for part in DEVELOPMENT))
            if path.is_file() and "__pycache__" not in path.parts and not development:
                found[str(path)] = f"facegate/{relative}"
    return found


def link_folders(root: Path) -> None:
    """Link every folder into ``src/facegate/``; a junction on Windows, which needs no privilege."""
    for folder in FOLDERS:
        link, target = root / "src" / "facegate" / folder, root / folder
        if link.exists():
            continue
        if link.is_symlink():  # of a folder that has gone
            link.unlink()
        if sys.platform == "win32":
            import _winapi

            _winapi.CreateJunction(str(target), str(link))
        else:
            link.symlink_to(os.path.relpath(target, link.parent), target_is_directory=True)


class FolderHook(BuildHookInterface):  # type: ignore[misc]
    """Called by hatchling for every build."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Map the folders into the wheel, or link them for an editable install."""
        root = Path(self.root)
        if version == "editable":
            link_folders(root)
        else:
            build_data["force_include"].update(packed_files(root))


if __name__ == "__main__":
    link_folders(Path(__file__).resolve().parent)
