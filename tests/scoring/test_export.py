"""The exported graph scores in ONNX Runtime as torch does, at any batch size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from facegate.scoring.engine import load_scorer
from facegate.scoring.families import CARD_KEY

from ..helpers import facegate


@pytest.mark.parametrize("model", ["tiny_p16", "tiny_p8"])
def test_the_graph_equals_torch_on_the_parity_crops(data: Path, tmp_path: Path, model: str) -> None:
    weights, target = data / "parity" / f"{model}.safetensors", tmp_path / "quality.onnx"
    result = facegate("models", "export", weights, "--to", target)
    assert result.returncode == 0 and result.stdout == "", result.stderr
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    crops = np.load(data / "parity" / "crops.npy")
    expected = load_scorer(weights, device="cpu", dtype="fp32").score(crops)
    for batch in (crops, crops[:1], np.concatenate([crops] * 3)):
        raw, quality, embedding = session.run(["raw", "quality", "embedding"], {"crops": batch})
        repeat = -(-len(batch) // len(crops))
        for found, wanted in ((raw, expected.raw_score), (embedding, expected.embedding)):
            assert wanted is not None
            np.testing.assert_allclose(found, np.concatenate([wanted] * repeat)[: len(batch)], atol=1e-4)
        assert np.abs(np.rint(quality) - np.concatenate([expected.quality] * repeat)[: len(batch)]).max() <= 1
    card = {prop.key: prop.value for prop in onnx.load(str(target)).metadata_props}[CARD_KEY]
    assert json.loads(card)["name"] == model


def test_models_are_listed_shown_and_verified(tiny_model: Path, tmp_path: Path) -> None:
    assert "cvlface-vit-base" in facegate("models", "list").stdout
    assert json.loads(facegate("models", "show", "cvlface-vit-base").stdout)["architecture"]["depth"] == 24
    good = facegate("models", "verify", tiny_model)
    assert good.returncode == 0 and "matches card 'tiny'" in good.stdout and "SHA-256" in good.stdout
    assert "license: " in good.stdout
    bad = facegate("models", "verify", tiny_model, "--model-card", "insightface-vit-s")
    assert bad.returncode == 1 and "do not fit their card" in bad.stderr
    nowhere = facegate("models", "export", "--to", tmp_path / "no" / "q.onnx")
    assert nowhere.returncode == 1 and "existing folder" in nowhere.stderr
