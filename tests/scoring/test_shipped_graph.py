"""The graph that ships without weights: the same scores as the exported one, and no torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from facegate.scoring.backends import OnnxRuntime
from facegate.scoring.engine import load_scorer
from facegate.scoring.export import export_onnx, write_structure
from facegate.scoring.shipped_graph import GRAPH, STRUCTURE, Structure, shipped_graph

from ..helpers import ROOT


def test_scores_are_those_of_the_exported_graph_bit_for_bit(tmp_path: Path) -> None:
    scorer = load_scorer(device="cpu", dtype="fp32", backend="onnxruntime")
    graph = shipped_graph(scorer.reading)
    assert graph is not None
    export_onnx(scorer.reading.one_pass, scorer.card, scorer.card.name, tmp_path / "whole.onnx")
    crops = np.random.default_rng(0).integers(0, 256, (9, 112, 112, 3), dtype=np.uint8)
    shipped, exported = (
        OnnxRuntime(given, "fp32", 1).run([crops], True)[0] for given in (graph, tmp_path / "whole.onnx")
    )
    for name in ("raw", "patches", "attention", "embedding"):
        assert np.array_equal(getattr(shipped, name), getattr(exported, name)), name


def test_the_structure_in_the_tree_is_the_one_that_its_command_writes(tmp_path: Path) -> None:
    write_structure(load_scorer(device="cpu", backend="torch").reading, tmp_path)
    models = ROOT / "scoring" / "models"
    assert (tmp_path / GRAPH).read_bytes() == (models / GRAPH).read_bytes()
    written, shipped = (
        msgspec.json.decode((at / STRUCTURE).read_bytes(), type=Structure) for at in (tmp_path, models)
    )
    assert written == shipped


@pytest.mark.parametrize("settings", [{"quality": "norm"}, {"alpha": 4.0}, {"blocks": (0, 5)}])
def test_other_settings_are_not_served_by_it(settings: dict[str, object]) -> None:
    assert shipped_graph(load_scorer(device="cpu", backend="torch", **settings).reading) is None  # type: ignore[arg-type]


def test_the_default_model_runs_without_torch(tmp_path: Path) -> None:
    code = """
import sys
for name in ("torch", "timm", "onnx", "openvino", "scipy", "matplotlib"):
    sys.modules[name] = None
import numpy as np
from facegate.detectors.base import load_detector
from facegate.scoring.engine import load_scorer
from facegate.errors import ConfigError
found = load_scorer().score(np.zeros((2, 112, 112, 3), np.uint8))
assert found.embedding.shape == (2, 128)
assert load_detector("mtcnn").detect([np.zeros((90, 120, 3), np.uint8)]) == [[]]
try:
    load_scorer(quality="norm")
except ConfigError as error:
    print(error)
"""
    environment = os.environ | {"FACEGATE_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "pip install 'facegate[torch]'" in done.stdout
