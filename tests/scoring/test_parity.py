"""The score and the embedding equal the published implementation's on its own test vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from facegate.scoring.engine import load_scorer
from facegate.scoring.vit import Architecture, FaceViT

MODELS = ("tiny_p16", "tiny_p8")


@pytest.mark.parametrize("model", MODELS)
def test_vitnt_scores_equal_the_published_vectors(data: Path, model: str) -> None:
    crops = np.load(data / "parity" / "crops.npy")
    cases = json.loads((data / "parity" / "expected.json").read_text())[model]["vitnt"]
    assert len(cases) == 27
    for case in cases:
        scorer = load_scorer(
            data / "parity" / f"{model}.safetensors",
            blocks=case["blocks"],
            aggregation=case["aggregation"],
            alpha=case["alpha"],
            device="cpu",
            dtype="fp32",
        )
        np.testing.assert_allclose(scorer.score(crops).raw, case["raw"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("model", MODELS)
def test_embedding_and_attention_score_equal_the_published_vectors(data: Path, model: str) -> None:
    crops = np.load(data / "parity" / "crops.npy")
    expected = json.loads((data / "parity" / "expected.json").read_text())[model]
    out = load_scorer(data / "parity" / f"{model}.safetensors", device="cpu", dtype="fp32").score(crops)
    assert out.embedding is not None and out.norm is not None
    np.testing.assert_allclose(out.embedding, expected["embedding"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(out.attention, expected["attention_score"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(out.norm, np.linalg.norm(expected["embedding"], axis=1), atol=1e-4)


def test_a_dinov2_network_equals_timms_own() -> None:
    arch = Architecture(
        patch_size=14, embed_dim=48, depth=3, num_heads=3, mlp_ratio=4, embedding_dim=48, class_token=True,
        qkv_bias=True, layer_scale=True, activation="gelu", norm_eps=1e-6, head="class_token",
    )  # fmt: skip
    torch.manual_seed(0)
    reference = timm.create_model(
        "vit_small_patch14_dinov2",
        pretrained=False,
        img_size=112,
        embed_dim=48,
        depth=3,
        num_heads=3,
        num_classes=0,
    ).eval()
    network = FaceViT(arch)
    network.load_state_dict(reference.state_dict(), strict=True)
    network.eval()
    images = torch.randn(2, 3, 112, 112)
    with torch.inference_mode():
        out = network(images, (0, 2))
        torch.testing.assert_close(out.embedding, reference(images), atol=1e-5, rtol=1e-4)
