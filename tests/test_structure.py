"""The shape of the project: who may import whom, one OpenCV, and wheels that hold what the tree holds."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from importlib import metadata
from pathlib import Path
from shutil import ignore_patterns

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = (
    "pipeline",
    "detectors",
    "scoring",
    "sinks",
    "store",
    "recognition",
    "evaluation",
    "training",
    "demo",
    "maintenance",
    "fleet",
    "console",
    "facegate",
)

# A module may import from its own room and from rooms above it in this list; the longest prefix counts.
ROOMS = (
    "facegate.errors",
    "facegate.clock",
    "facegate.database",
    "facegate.parent",
    "facegate.paths",
    "facegate.subprocesses",
    "facegate.pipeline.records",
    "facegate.pipeline.addresses",
    "facegate.pipeline.images",
    "facegate.cpu",
    "facegate.detectors",
    "facegate.scoring",
    "facegate.pipeline.seeing",
    "facegate.sinks",
    "facegate.store",
    "facegate.pipeline.config",
    "facegate.pipeline.flow",
    "facegate.pipeline.gating",
    "facegate.pipeline.recording",
    "facegate.pipeline.observability",
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
MOST_FILES, MOST_LINES = 15, 400


def rank(module: str) -> int:
    inside = [room for room in ROOMS if module == room or module.startswith(room + ".")]
    return ROOMS.index(max(inside, key=len))


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
            assert name != "facegate.cli.app" or module == "facegate.__main__"
            if module.startswith("facegate.scoring."):
                assert not name.startswith("facegate.pipeline"), f"{module} must not import pipeline code"
        assert name.split(".")[0] not in FOLDERS[:-1], f"{module}: write facegate.{name}"


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
    crowded = {folder: n for folder, n in Counter(file.parent for file in files).items() if n > MOST_FILES}
    long = {file: n for file in files if (n := len(file.read_text(encoding="utf-8").splitlines())) > MOST_LINES}
    assert not crowded and not long


def test_every_room_says_what_it_is_for() -> None:
    for module, path in modules():
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), module


def test_every_path_on_the_map_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", text))
    assert len(named) > 30
    assert not [path for path in sorted(named) if not (ROOT / path).exists()]


@pytest.mark.parametrize("folder", [*FOLDERS[:-1], "configs"])
def test_a_checkout_without_symbolic_links_says_so(folder: str, tmp_path: Path) -> None:
    """Git writes a link as a file with its target, where the file system has none (Windows, some archives)."""
    shutil.copytree(ROOT / "facegate", tmp_path / "facegate", symlinks=True, ignore=ignore_patterns("__pycache__"))
    link = tmp_path / "facegate" / folder
    link.unlink()
    link.write_text(f"../{folder}")
    done = subprocess.run(
        [sys.executable, "-c", "import facegate"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: facegate/{folder} is no link to ../{folder}: this copy was made without symbolic links; "
        "clone with 'git clone -c core.symlinks=true', or install the wheel (docs/architecture.md)"
    )


def test_exactly_one_opencv_is_installed() -> None:
    installed = {(dist.metadata["Name"] or "").lower() for dist in metadata.distributions()}
    assert {name for name in installed if name.startswith("opencv")} == {"opencv-python"}


def test_every_package_folder_is_linked_into_facegate() -> None:
    for folder in (*FOLDERS[:-1], "configs"):
        link = ROOT / "facegate" / folder
        assert link.is_symlink() and link.resolve() == (ROOT / folder).resolve()


def test_what_runs_exported_graphs_does_not_wait_for_torch() -> None:
    """Importing torch takes seconds; a gate and a worker with the model that ships need only its graph."""
    heavy = "'torch', 'torchvision', 'timm', 'matplotlib', 'scipy.stats'"
    modules = "facegate.pipeline.runner, facegate.detectors.mtcnn, facegate.recognition.worker.zmq_worker"
    code = f"import sys, {modules}; print(*{{{heavy}}} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""
