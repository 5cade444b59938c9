"""Checkpoints of other people's code: prefixes, wrappers, safe loading, and refusals that name what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from facegate.errors import ConfigError, ModelError
from facegate.scoring.engine import load_scorer
from facegate.scoring.families import (
    DEFAULT_MODEL,
    OPEN_MODEL,
    SHIPPED_MODELS,
    builtin_card,
    card_names,
    read_card,
)
from facegate.scoring.loading import load_shipped
from facegate.scoring.network.vit import FaceViT
from facegate.training.provenance import may_be_used_for_anything

from ..helpers import facegate

CROPS = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3)).astype(np.uint8)
CARD = """
name: tiny
architecture: {patch_size: 16, embed_dim: 32, depth: 3, num_heads: 2, mlp_ratio: 2, embedding_dim: 16}
blocks: [0, 1, 2]
calibration: {vitnt: [[0, 0], [1, 100]]}
calibration_version: none
"""


@pytest.fixture
def state(tiny_model: Path) -> dict[str, Tensor]:
    return load_file(tiny_model)


@pytest.fixture
def card(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(CARD)
    return str(path)


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "net.", "module.backbone."])
def test_wrapped_and_prefixed_torch_files_score_as_the_plain_one(
    tiny_model: Path, state: dict[str, Tensor], card: str, tmp_path: Path, prefix: str, wrap: str | None
) -> None:
    renamed = {prefix + key: value for key, value in state.items()}
    renamed[prefix + "mask_token"] = torch.zeros(1, 1, 32)
    path = tmp_path / "w.pt"
    torch.save({wrap: renamed, "epoch": 3} if wrap else renamed, path)
    expected = load_scorer(tiny_model, device="cpu", dtype="fp32").score(CROPS)
    found = load_scorer(path, card=card, device="cpu", dtype="fp32").score(CROPS)
    np.testing.assert_array_equal(found.raw_score, expected.raw_score)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("this ran",))


def test_a_torch_file_with_code_in_it_is_refused_and_nothing_runs(
    tmp_path: Path, card: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"state_dict": Malicious()}, path)
    with pytest.raises(ModelError, match="torch file of tensors only"):
        load_scorer(path, card=card)
    assert "this ran" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("net.blocks.0.attn.kprpe.weight", "KP-RPE"),
        ("blocks.0.attn.rpe_k.lookup_table_weight", "KP-RPE|iRPE"),
        ("layers.0.blocks.0.attn.relative_position_bias_table", "Swin"),
        ("stn.fc.weight", "part-fViT"),
    ],
)
def test_other_architectures_are_refused_by_name(
    tmp_path: Path, state: dict[str, Tensor], key: str, name: str
) -> None:
    path = tmp_path / "other.safetensors"
    save_file(state | {key: torch.zeros(2)}, path)
    with pytest.raises(ModelError, match=f"is a ({name}) model"):
        load_scorer(path)


def test_an_ambiguous_file_is_refused_with_the_cards_that_fit(tmp_path: Path) -> None:
    """insightface's ViT-S could have any number of heads that divides 512."""
    with torch.device("meta"):
        shapes = FaceViT(builtin_card("insightface-vit-t").architecture).state_dict()
    path = tmp_path / "t.pt"
    torch.save({key: torch.zeros(value.shape, dtype=value.dtype) for key, value in shapes.items()}, path)
    with pytest.raises(
        ModelError,
        match="head counts cannot be inferred from weights: its shapes match --model-card insightface-vit-t",
    ):
        load_scorer(path)


def test_files_that_are_no_state_dict_are_refused(tmp_path: Path, card: str) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="torch file of tensors only"):
        load_scorer(path, card=card)
    torch.save({"epoch": 1}, path)
    with pytest.raises(ModelError, match="has no state dict"):
        load_scorer(path, card=card)


def test_cards_that_do_not_exist_or_do_not_fit_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model card named 'x': choose one of cvlface-vit-base"):
        load_scorer(tiny_model, card="x")
    with pytest.raises(ModelError, match="cannot read model card"):
        load_scorer(tiny_model, card=str(tmp_path / "none.yaml"))
    with pytest.raises(ModelError, match="do not fit their card"):
        load_scorer(tiny_model, card="cvlface-vit-small")
    broken = tmp_path / "b.yaml"
    broken.write_text("name: x\n")
    with pytest.raises(ModelError, match="is not valid"):
        load_scorer(tiny_model, card=str(broken))
    state, metadata = load_file(tiny_model), {"patch_size": "huge", "embed_dim": "32", "depth": "3"}
    save_file(state, tmp_path / "m.safetensors", metadata | {"num_heads": "2", "mlp_ratio": "2"})
    with pytest.raises(ModelError, match="invalid architecture"):
        load_scorer(tmp_path / "m.safetensors")


@pytest.mark.parametrize("name", card_names())
def test_every_shipped_card_is_whole(name: str) -> None:
    shipped = read_card(name)
    assert shipped.name == name and shipped.blocks[-1] < shipped.architecture.depth
    assert shipped.architecture.embed_dim % shipped.architecture.num_heads == 0


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_a_model_that_ships_is_loaded_by_name_in_fp32_and_with_its_own_card(name: str) -> None:
    scorer = load_scorer(name, device="cpu", dtype="fp32", backend="torch")
    scores = scorer.score(CROPS)
    assert scorer.card.name == name and scorer.card.people is not None
    assert scores.embedding is not None and np.isfinite(scores.raw_score).all()
    assert scores.embedding.shape == (2, scorer.card.architecture.embedding_dim)
    assert {tensor.dtype for tensor in load_shipped(name).network.parameters()} == {torch.float32}
    with pytest.raises(ConfigError, match="remove --model-card"):
        load_scorer(name, card="cvlface-vit-base")


def test_every_license_behind_the_open_model_allows_any_use() -> None:
    card = builtin_card(OPEN_MODEL)
    assert card.license == "Apache-2.0" and may_be_used_for_anything(card.made_from)
    parts = {item.part for item in card.made_from}
    assert parts == {"teacher, and start of stem and head", "second teacher", "pictures"}
    assert not may_be_used_for_anything(builtin_card(DEFAULT_MODEL).made_from)


def test_the_list_says_which_model_is_the_default() -> None:
    assert load_scorer(device="cpu", dtype="fp32", backend="torch").card.name == DEFAULT_MODEL
    listed = facegate("models", "list").stdout
    assert f"{DEFAULT_MODEL} (default)" in listed
