"""The score and the embedding equal the published implementation's on its own test vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from facegate.scoring.engine import load_scorer
from facegate.scoring.network.architecture import Architecture, ScoreSettings
from facegate.scoring.network.vit import FaceViT

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
            backend="torch",
        )
        np.testing.assert_allclose(scorer.score(crops).raw_score, case["raw"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("model", MODELS)
def test_embedding_and_attention_score_equal_the_published_vectors(data: Path, model: str) -> None:
    crops = np.load(data / "parity" / "crops.npy")
    expected = json.loads((data / "parity" / "expected.json").read_text())[model]
    out = load_scorer(data / "parity" / f"{model}.safetensors", device="cpu", dtype="fp32").score(crops)
    assert out.embedding is not None and out.norm is not None
    np.testing.assert_allclose(out.embedding, expected["embedding"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(out.attention, expected["attention_score"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(out.norm, np.linalg.norm(expected["embedding"], axis=1), atol=1e-4)


DINOV2 = {"class_token": True, "qkv_bias": True, "layer_scale": True, "activation": "gelu", "norm_eps": 1e-6}


@pytest.mark.parametrize(
    ("name", "patch", "extra"),
    [
        ("vit_small_patch14_dinov2", 14, DINOV2),
        ("vit_small_patch14_reg4_dinov2", 14, DINOV2 | {"registers": 4, "prefix_position": False}),
        (
            "vit_base_patch16_clip_224",
            16,
            {"class_token": True, "qkv_bias": True, "activation": "gelu", "pre_norm": True},
        ),
        (
            "vit_base_patch16_clip_quickgelu_224",
            16,
            {"class_token": True, "qkv_bias": True, "activation": "quick_gelu", "pre_norm": True},
        ),
    ],
)
def test_timms_networks_load_strictly_and_embed_as_they_do(name: str, patch: int, extra: dict[str, Any]) -> None:
    arch = Architecture(
        patch_size=patch,
        embed_dim=48,
        depth=3,
        num_heads=3,
        mlp_ratio=4,
        embedding_dim=48,
        head="class_token",
        **extra,
    )
    torch.manual_seed(0)
    reference = timm.create_model(
        name, pretrained=False, img_size=112, embed_dim=48, depth=3, num_heads=3, num_classes=0
    ).eval()
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    network = FaceViT(arch)
    network.load_state_dict(reference.state_dict(), strict=True)
    network.eval()
    images = torch.randn(2, 3, 112, 112)
    with torch.inference_mode():
        out = network(images, ScoreSettings((0, 2)))
        torch.testing.assert_close(out.embedding, reference(images), atol=1e-4, rtol=1e-4)
        assert out.patches.shape == (2, arch.patches)


def test_a_register_model_of_another_picture_size_loads_with_its_grid_resampled(tmp_path: Path) -> None:
    reference = timm.create_model(
        "vit_small_patch14_reg4_dinov2",
        pretrained=False,
        img_size=224,
        embed_dim=48,
        depth=3,
        num_heads=3,
        num_classes=0,
    )
    torch.save(reference.state_dict(), tmp_path / "dino.pt")
    (tmp_path / "card.yaml").write_text(
        "name: registers\narchitecture: {patch_size: 14, embed_dim: 48, depth: 3, num_heads: 3, mlp_ratio: 4,"
        " embedding_dim: 48, class_token: true, qkv_bias: true, layer_scale: true, activation: gelu,"
        " norm_eps: 1.0e-6, head: class_token, registers: 4, prefix_position: false}\n"
        "blocks: [0, 1, 2]\ncalibration: {vitnt: [[0, 0], [1, 100]]}\ncalibration_version: none\n"
    )
    scorer = load_scorer(tmp_path / "dino.pt", card=str(tmp_path / "card.yaml"), device="cpu", dtype="fp32")
    assert scorer.score(np.zeros((1, 112, 112, 3), np.uint8)).patches.shape == (1, 64)
