"""Shared fixtures: the research data, where it is present, and one loaded copy of each model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from facegate.detectors.base import Detector, load_detector
from facegate.scoring.engine import Scorer, load_scorer

ROOT = Path(__file__).parent.parent


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
def mtcnn() -> Detector:
    return load_detector("mtcnn")


@pytest.fixture(scope="session")
def yunet(data: Path) -> Detector:
    return load_detector("yunet", data / "models" / "yunet_n_640_640.onnx")
