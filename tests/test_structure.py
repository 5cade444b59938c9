"""The shape of the project: who may import whom, one OpenCV, unique names, folders that are parts of a package."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from graphlib import TopologicalSorter
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "facegate"
FOLDERS = tuple(sorted(path.name for path in PACKAGE.iterdir() if path.is_symlink()))
"""Folders at the top that are parts of the package."""

# A module may import from its own room and from rooms above it in this list; the longest prefix counts.
ROOMS = (
    "facegate.errors",
    "facegate.background",
    "facegate.backoff",
    "facegate.clock",
    "facegate.paths",
    "facegate.extras",
    "facegate.cpu",
    "facegate.inference",
    "facegate.database",
    "facegate.audit",
    "facegate.parent",
    "facegate.subprocesses",
    "facegate.pipeline.records",
    "facegate.pipeline.addresses",
    "facegate.pipeline.plurals",
    "facegate.pipeline.images",
    "facegate.detectors",
    "facegate.scoring",
    "facegate.pipeline.detection",
    "facegate.pipeline.quality",
    "facegate.sinks",
    "facegate.store",
    "facegate.pipeline.config",
    "facegate.pipeline.flow",
    "facegate.pipeline.tracking",
    "facegate.pipeline.gating",
    "facegate.pipeline.recording",
    "facegate.pipeline.observability",
    "facegate.pipeline.login",
    "facegate.pipeline.discovery",
    "facegate.pipeline.sources",
    "facegate.pipeline.cameras",
    "facegate.pipeline.stages",
    "facegate.pipeline.runtime",
    "facegate.pipeline.runner",
    "facegate.pipeline.control",
    "facegate.pipeline.watch",
    "facegate.recognition",
    "facegate.maintenance",
    "facegate.evaluation",
    "facegate.training",
    "facegate.demo",
    "facegate.logs",
    "facegate.fleet",
    "facegate.console",
    "facegate",
)
MAX_FILES, MAX_LINES = 15, 400


def rank(module: str) -> int:
    inside = [room for room in ROOMS if module == room or module.startswith(room + ".")]
    return ROOMS.index(max(inside, key=len))


def modules() -> list[tuple[str, Path]]:
    found = []
    for folder in (*FOLDERS, "src/facegate"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            relative = path.relative_to(ROOT).with_suffix("")
            parts = [part for part in relative.parts if part not in ("__init__", "src")]
            if folder == "src/facegate" and path.resolve() != path:
                continue  # a linked folder, seen under its own name
            found.append((".".join(parts if parts[0] == "facegate" else ["facegate", *parts]), path))
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
            assert name != "facegate.cli.app" or module in ("facegate.__main__", "facegate.cli")
            if module.startswith("facegate.scoring."):
                assert not name.startswith("facegate.pipeline"), f"{module} must not import pipeline code"
        assert name.split(".")[0] not in FOLDERS, f"{module}: write facegate.{name}"


def test_nothing_of_the_product_needs_what_wheels_leave_out() -> None:
    left_out = ("facegate.training", "facegate.evaluation.research")
    need = {
        module
        for module, path in modules()
        if not module.startswith(left_out) and any(name.startswith(left_out) for name in imports(path))
    }
    assert need == {"facegate.evaluation.evaluate"}, "which says so where they are missing"


def test_no_module_imports_itself_in_a_circle() -> None:
    known = dict(modules())
    graph = {module: {name for name in imports(path) if name in known} - {module} for module, path in known.items()}
    TopologicalSorter(graph).prepare()


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_rooms_stay_small_enough_to_look_over() -> None:
    files = tracked() or [path for _, path in modules()]
    crowded = {folder: n for folder, n in Counter(file.parent for file in files).items() if n > MAX_FILES}
    long = {file: n for file in files if (n := len(file.read_text(encoding="utf-8").splitlines())) > MAX_LINES}
    assert not crowded and not long


def test_every_room_says_what_it_is_for() -> None:
    for module, path in modules():
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), module


def used_outside(path: Path, name: str) -> bool:
    """Whether another file imports a class from this one; one that never leaves its file may have any name."""
    return any(
        isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names)
        for other in tracked()
        if other != path
        for node in ast.walk(ast.parse(other.read_text(encoding="utf-8")))
    )


def test_a_class_name_has_one_meaning() -> None:
    places: defaultdict[str, list[Path]] = defaultdict(list)
    for path in tracked():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(path)
    twice = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert {name for name, paths in twice.items() if any(used_outside(path, name) for path in paths)} == set()


def test_every_path_in_the_architecture_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", text))
    assert len(named) > 30
    assert not [path for path in sorted(named) if not (ROOT / path).exists()]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_of_the_package_cannot_be_imported_under_a_second_name(folder: str) -> None:
    if not list((ROOT / folder).glob("*.py")):
        pytest.skip("holds no modules")
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"ImportError: import facegate.{folder}, not {folder}"


def test_the_packages_of_opencv_are_of_one_version() -> None:
    """The core brings the headless one, insightface the other; both hold the module ``cv2``."""
    installed = {(dist.metadata["Name"] or "").lower(): dist.version for dist in metadata.distributions()}
    found = {name: version for name, version in installed.items() if name.startswith("opencv")}
    assert set(found) <= {"opencv-python", "opencv-python-headless"} and len(set(found.values())) == 1


def test_no_link_is_committed() -> None:
    listed = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert not [line for line in listed.stdout.splitlines() if line.startswith("120000")]


def test_a_gate_and_a_worker_do_not_load_torch() -> None:
    """Importing torch takes seconds; a gate and a worker with the model that ships need only its graph."""
    heavy = "'torch', 'torchvision', 'timm', 'matplotlib', 'scipy.stats'"
    loaded = "facegate.pipeline.runner, facegate.detectors.mtcnn, facegate.recognition.worker.zmq_worker"
    code = f"import sys, {loaded}; print(*{{{heavy}}} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""
