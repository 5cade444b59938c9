"""What a model is: a card, and weights of which the network is built.

A model is an architecture, weights and a card that travels with them. A safetensors file whose metadata carry the
architecture's numbers is its own card.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from facegate.errors import ModelError
from facegate.scoring.network.architecture import Architecture

if TYPE_CHECKING:
    from facegate.scoring.network.vit import FaceViT

DEFAULT_MODEL = "facegate-mobile-s"
"""The model that ships: gates score with it where nothing else is asked for, and it is the built-in recognizer."""
Quality = Literal["vitnt", "attention", "norm", "estimate"]
QUALITIES: tuple[Quality, ...] = get_args(Quality)
Table = tuple[tuple[float, float], ...]
TORCH_SUFFIXES = (".pt", ".pth", ".bin")
"""Of files whose weights torch itself has written."""
ARCHITECTURE_KEYS = ("patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")

FACE_MEAN = (0.5, 0.5, 0.5)
"""Face recognizers normalize with (pixel / 255 - 0.5) / 0.5."""


class ModelCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything needed to use a set of weights, and what they may be used for."""

    name: str
    architecture: Architecture
    blocks: tuple[int, ...]
    """Scored blocks, increasing, 0-based."""
    calibration: dict[Quality, Table]
    """For each number that may stand for quality, a monotone table raw -> 0..100."""
    calibration_version: str
    quality: Quality = "vitnt"
    """The number that stands for quality: ``vitnt`` (ViTNT-FIQA), ``attention`` (ATTN-FIQA), ``norm`` (of the
    embedding) or ``estimate`` (read from the tokens by a small head)."""
    fusion: tuple[float, ...] = ()
    """How the architecture's estimates add up to one number."""
    people: tuple[float, float] | None = None
    """Cosines of the embedding: below the first, two faces of a track are different people; from the second on, two
    faces of different tracks are the same person. ``None``: the embedding does not tell people apart."""
    bf16: bool = True
    """Whether scores and embeddings in bf16 agree with fp32's (``scoring.choice``); else ``auto`` takes another."""
    mean: tuple[float, float, float] = FACE_MEAN
    std: tuple[float, float, float] = FACE_MEAN
    alpha: float = 8.0
    license: str = "unknown"
    source: str = ""
    note: str = ""
    hub: str = ""
    """Repository on the Hugging Face hub from which ``facegate models pull`` gets the weights."""
    sha256: str = ""
    """Of the weight file, where known."""


USELESS: frozenset[tuple[str, Quality]] = frozenset({(DEFAULT_MODEL, "attention")})
"""Numbers of a model that carry no information about quality (docs/research/findings.md)."""

IDENTITY: Table = ((0.0, 0.0), (1.0, 100.0))
"""Raw score in percent: what an uncalibrated model has."""

CARD_KEY = "facegate_card"
"""Metadata key under which a safetensors file of our own carries its card as JSON."""


class Model:
    """A card, and the weights that it describes.

    The network is built when it is first asked for: who runs an exported graph never waits for torch.
    """

    def __init__(self, card: ModelCard, fingerprint: str, build: Callable[[], FaceViT]) -> None:
        """Take a card, what identifies the weights, and what makes the network of both."""
        self.card = card
        self.fingerprint = fingerprint
        """Changes with the weights: the key under which what was computed with them is kept."""
        self._build = build

    @cached_property
    def network(self) -> FaceViT:
        """In fp32 on the CPU, to be evaluated.

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
        raise ModelError(f"the card inside {where} is not valid: {error}") from error


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
        return msgspec.yaml.decode(content, type=ModelCard)
    except msgspec.DecodeError as error:
        raise ModelError(f"model card {where} is not valid: {error}") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_card(name: str) -> ModelCard:
    """Read a card of this package by name, or from a YAML file.

    Raises:
        ModelError: there is none, or it is not valid.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        try:
            return _decode_card(path.read_bytes(), name)
        except OSError as error:
            raise ModelError(
                f"cannot read model card {path}: {(error.strerror or 'unknown error').lower()}"
            ) from error
    return builtin_card(name)


def card_names() -> list[str]:
    """Names of the cards that ship with the package."""
    files = (resources.files("facegate.scoring") / "cards").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))
