"""Models: an architecture, weights and a model card.

A safetensors file whose metadata contain the architecture needs no card.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from facegate.errors import ModelError, os_errors
from facegate.paths import decode_yaml
from facegate.scoring.network.architecture import Architecture

if TYPE_CHECKING:
    from facegate.scoring.network.vit import FaceViT

DEFAULT_MODEL = "facegate-mobile-s"
"""The built-in model: the default of the scorer, and the built-in recognizer."""
OPEN_MODEL = "facegate-open-s"
"""The built-in model whose license allows any use."""
SHIPPED_MODELS = (DEFAULT_MODEL, OPEN_MODEL)
Quality = Literal["vitnt", "attention", "norm", "estimate"]
QUALITIES: tuple[Quality, ...] = get_args(Quality)
Table = tuple[tuple[float, float], ...]
ARCHITECTURE_KEYS = ("patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")

FACE_MEAN = (0.5, 0.5, 0.5)
"""Face recognizers normalize with (pixel / 255 - 0.5) / 0.5."""


class Ingredient(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something a model was made from."""

    part: str
    """``teacher``, ``pictures``, ..."""
    name: str
    license: str
    """As its source states it."""
    source: str = ""


class ModelCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything needed to use a set of weights, and their license."""

    name: str
    architecture: Architecture
    blocks: tuple[int, ...]
    """Scored blocks, increasing, 0-based."""
    calibration: dict[Quality, Table]
    """For each quality measure, a monotone table raw -> 0..100."""
    calibration_version: str
    quality: Quality = "vitnt"
    """Default quality measure: ``vitnt`` (ViTNT-FIQA), ``attention`` (ATTN-FIQA), ``norm`` (of the
    embedding) or ``estimate`` (read from the tokens by a small head)."""
    fusion: tuple[float, ...] = ()
    """Weights of the architecture's estimates in the fused estimate."""
    people: tuple[float, float] | None = None
    """Cosine thresholds of the embedding: below the first, two faces of a track are different people; from the
    second on, faces of different tracks are the same person. ``None``: the embedding does not distinguish
    people."""
    bf16: bool = True
    """Whether scores and embeddings in bf16 agree with fp32; otherwise ``auto`` does not use bf16."""
    mean: tuple[float, float, float] = FACE_MEAN
    std: tuple[float, float, float] = FACE_MEAN
    alpha: float = 8.0
    license: str = "unknown"
    source: str = ""
    made_from: tuple[Ingredient, ...] = ()
    """Initial weights, teachers and training pictures, with their licenses."""
    note: str = ""
    hub: str = ""
    """Repository on the Hugging Face hub for ``facegate models pull``."""
    sha256: str = ""
    """SHA-256 of the weight file, if known."""


USELESS: frozenset[tuple[str, Quality]] = frozenset({(DEFAULT_MODEL, "attention")})
"""Quality measures without information: discarding by them is no better than chance (docs/research/findings.md)."""

IDENTITY: Table = ((0.0, 0.0), (1.0, 100.0))
"""Calibration of an uncalibrated model: the raw score in percent."""

CARD_KEY = "facegate_card"
"""Metadata key under which a safetensors file of our own carries its card as JSON."""


class Model:
    """A card and its weights.

    The network is built on first use, so that running an exported graph does not import torch.
    """

    def __init__(self, card: ModelCard, weights: Path, fingerprint: str, build: Callable[[], FaceViT]) -> None:
        """Take a card, the weight file and its fingerprint, and a function that builds the network."""
        self.card = card
        self.weights = weights
        self.fingerprint = fingerprint
        """Id of the weights, for cache keys."""
        self._build = build

    @cached_property
    def network(self) -> FaceViT:
        """The network in fp32 on the CPU, in evaluation mode.

        Raises:
            ModelError: the weights are unreadable, of another architecture, or do not fit the card.
        """
        return self._build()


def decode_embedded(text: str, where: str) -> ModelCard:
    """Read a card from a file's metadata.

    Raises:
        ModelError: it is not valid.
    """
    try:
        fields = msgspec.json.decode(text, type=dict[str, Any])
        # Weights written by earlier versions have these fields.
        fields.pop("spread", None)
        if "licence" in fields:
            fields["license"] = fields.pop("licence")
        return msgspec.convert(fields, ModelCard)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"the model card inside {where} is not valid: {error}") from error


def builtin_card(name: str) -> ModelCard:
    """Read a card that ships with the package.

    Raises:
        ModelError: there is no such card.
    """
    path = resources.files("facegate.scoring") / "cards" / f"{name}.yaml"
    if not path.is_file():
        raise ModelError(
            f"no model card named '{name}': choose one of {', '.join(card_names())}, or give a YAML file"
        )
    return _decode_card(path.read_bytes(), str(path))


def _decode_card(content: bytes, where: str) -> ModelCard:
    try:
        return decode_yaml(content, ModelCard)
    except msgspec.DecodeError as error:
        raise ModelError(f"model card {where} is not valid: {error}") from error


def check_readable(path: Path) -> None:
    """Check that a file can be opened, before a library tries to, whose own words do not say so.

    Raises:
        ModelError: it cannot.
    """
    with os_errors(ModelError, f"cannot read {path}", "give a file that exists"), path.open("rb"):
        pass


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_card(name: str) -> ModelCard:
    """Read a built-in card by name, or a card from a YAML file.

    Raises:
        ModelError: it does not exist or is not valid.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        with os_errors(ModelError, f"cannot read model card {path}"):
            return _decode_card(path.read_bytes(), name)
    return builtin_card(name)


def card_names() -> list[str]:
    """Return the names of the built-in cards."""
    files = (resources.files("facegate.scoring") / "cards").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))
