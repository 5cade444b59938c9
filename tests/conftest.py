"""Shared fixtures: the research data, where it is present, and one loaded copy of each model."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Two workers share two cores; must be set before torch is imported, and holds for the commands that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
import torch
from safetensors.torch import save_file

from facegate import database
from facegate.demo.clip import DemoClip, make_clip
from facegate.detectors.base import Detector, load_detector
from facegate.scoring.engine import Scorer, load_scorer
from facegate.scoring.network.architecture import Architecture
from facegate.scoring.network.vit import FaceViT

from .helpers import ROOT, transcode

# No test depends on how fast the machine is, nor on chance; "make explore" tries other examples.
hypothesis.settings.register_profile("facegate", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=500)
hypothesis.settings.load_profile("facegate")

FOLDER_MARKERS = ("interop", "homeassistant", "console", "endurance")
"""Every test in a folder of this name has the marker of that name: it is deselected by default (pyproject.toml)."""


def _guard(event: str, arguments: tuple[object, ...]) -> None:
    """No test opens a file that SQLite has open by other means: closing it drops SQLite's locks."""
    if event != "open" or not len(database._connections):
        return
    path, _, flags = arguments
    exclusive = isinstance(flags, int) and flags & os.O_EXCL
    if isinstance(path, (str, bytes)) and not exclusive and database.is_open(Path(os.fsdecode(path))):
        raise AssertionError(f"{os.fsdecode(path)} is open in SQLite, and was to be opened by other means")


sys.addaudithook(_guard)

LONG = (
    "test_clips.py",
    "test_cli.py",
    "test_chaos.py",
    "test_camera_clocks.py",
    "test_faults.py",
    "test_savings.py",
)
"""Files with few and long tests: begun first, or at the end one worker would wait for the other."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for folder in {parent.name for parent in item.path.parents} & set(FOLDER_MARKERS):
            if folder in item.path.relative_to(ROOT).parts:
                item.add_marker(folder)
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests neither use nor touch what was measured or pulled on this machine before."""
    os.environ["FACEGATE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of clips, photos and models; tests that need it are skipped where it is absent."""
    path = Path(os.environ.get("FACEGATE_DATA", ROOT.parent / "shared" / "data")).resolve()
    if not path.is_dir():
        pytest.skip(f"no research data at {path}: set FACEGATE_DATA")
    return path


@pytest.fixture(scope="session")
def scorer() -> Scorer:
    return load_scorer(device="cpu")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face ViT with random weights, for tests in which faces must flow and not how good they are."""
    arch = Architecture(patch_size=16, embed_dim=32, depth=3, num_heads=2, mlp_ratio=2, embedding_dim=16)
    torch.manual_seed(0)
    network = FaceViT(arch)
    torch.nn.init.normal_(network.pos_embed, std=0.5)
    metadata = {name: str(getattr(arch, name)) for name in ("patch_size", "embed_dim", "depth", "num_heads")}
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_file(network.state_dict(), path, metadata | {"mlp_ratio": "2", "num_classes": "16"})
    return path


@pytest.fixture(scope="session")
def mtcnn() -> Detector:
    return load_detector("mtcnn")


@pytest.fixture(scope="session")
def yunet(data: Path) -> Detector:
    return load_detector("yunet", data / "models" / "yunet_n_640_640.onnx")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> DemoClip:
    """The demo's twelve-second clip with real faces, and its gallery."""
    return make_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def short_clip(clip: DemoClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its first two seconds, for tests that only need faces to flow."""
    path = tmp_path_factory.mktemp("short") / "short.mp4"
    transcode(clip.path, path, frames=50)
    return path
