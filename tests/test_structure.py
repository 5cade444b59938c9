"""The shape of the project: who may import whom, one OpenCV, and wheels that hold what the tree holds."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("pipeline", "detectors", "scoring", "sinks", "recognition", "evaluation", "training", "demo", "facegate")

# A module may import from its own rank or a lower one. The first matching prefix counts.
RANKS = (
    ("facegate.errors", 0),
    ("facegate.pipeline.records", 0),
    ("facegate.detectors", 1),
    ("facegate.scoring_job", 4),
    ("facegate.scoring", 1),
    ("facegate.sinks", 1),
    ("facegate.pipeline", 2),
    ("facegate.recognition", 3),
    ("facegate.evaluation", 3),
    ("facegate.training", 3),
    ("facegate.demo", 3),
    ("facegate", 4),
)


def rank(module: str) -> int:
    return next(value for prefix, value in RANKS if module == prefix or module.startswith(prefix + "."))


def modules() -> list[tuple[str, Path]]:
    found = []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            relative = path.relative_to(ROOT).with_suffix("")
            parts = [part for part in relative.parts if part != "__init__"]
            if folder == "facegate" and len(relative.parts) > 2:
                continue  # the linked folders, seen under their own names
            found.append((".".join(parts if folder == "facegate" else ["facegate", *parts]), path))
    return found


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "facegate"}
    return names


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_from_the_edges_to_the_records(module: str, path: Path) -> None:
    for name in imports(path):
        if name.split(".")[0] == "facegate":
            assert rank(name) <= rank(module), f"{module} must not import {name}"
            assert name != "facegate.cli" or module == "facegate.__main__"
            if module.startswith("facegate.scoring."):
                assert not name.startswith("facegate.pipeline"), f"{module} must not import pipeline code"
        assert name.split(".")[0] not in FOLDERS[:-1], f"{module}: write facegate.{name}"


def test_exactly_one_opencv_is_installed() -> None:
    installed = {(dist.metadata["Name"] or "").lower() for dist in metadata.distributions()}
    assert {name for name in installed if name.startswith("opencv")} == {"opencv-python"}


def test_a_run_starts_without_what_takes_seconds_to_load() -> None:
    code = "import facegate.pipeline.runner, sys; print(*{'timm', 'torchvision', 'scipy.stats'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""


def test_every_package_folder_is_linked_into_facegate() -> None:
    for folder in (*FOLDERS[:-1], "configs"):
        link = ROOT / "facegate" / folder
        assert link.is_symlink() and link.resolve() == (ROOT / folder).resolve()
