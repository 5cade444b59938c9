"""``facegate models``: which quality models are known, what a file is, and a graph for other runtimes."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from facegate.errors import ModelError
from facegate.options import ModelCardOption

app = typer.Typer(no_args_is_help=True, help="Known quality models; verify a file; export to ONNX.")

Weights = Annotated[
    Path | None,
    typer.Argument(help="A .safetensors or .pt file; the built-in model by default.", show_default=False),
]


@app.command("list")
def list_models() -> None:
    """List the model cards that ship with facegate.

    \b
    facegate models list
    """
    from facegate.scoring.families import DEFAULT_MODEL, builtin_card, card_names

    for name in card_names():
        card = builtin_card(name)
        arch = card.architecture
        mark = " (built in)" if name == DEFAULT_MODEL else ""
        size = f"patch {arch.patch_size}, {arch.embed_dim} wide, {arch.depth} blocks, {arch.num_heads} heads"
        sys.stdout.write(f"{name}{mark}\n  {size}\n  {card.source}\n  licence: {card.licence}\n")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of a card, or a YAML file.")],
) -> None:
    """Print a model card as JSON.

    \b
    facegate models show cvlface-vit-base
    """
    from facegate.scoring.families import read_card

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(read_card(name)), indent=2).decode() + "\n")


@app.command()
def verify(
    weights: Annotated[Path, typer.Argument(help="A .safetensors or .pt file.")], model_card: ModelCardOption = None
) -> None:
    """Load a file strictly, score one grey crop, and print what it is.

    \b
    facegate models verify adaface_vit_base.pt --model-card cvlface-vit-base
    """
    import numpy as np

    from facegate.scoring.engine import load_scorer

    scorer = load_scorer(weights, card=model_card, device="cpu", dtype="fp32")
    scorer.score(np.full((1, 112, 112, 3), 127, np.uint8))
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    sys.stdout.write(f"{weights}: fits card '{scorer.card.name}', SHA-256 {digest}\n")


@app.command()
def export(
    to: Annotated[Path, typer.Option(help="The .onnx file to write.")],
    weights: Weights = None,
    model_card: ModelCardOption = None,
) -> None:
    """Write one ONNX graph: uint8 crops in; raw score, quality and embedding out; dynamic batch.

    \b
    facegate models export --to quality.onnx
    facegate models export face.safetensors --to quality.onnx
    """
    from facegate.scoring.engine import load_scorer
    from facegate.scoring.export import export_onnx

    if not to.absolute().parent.is_dir():
        raise ModelError(f"cannot write {to}: give a file in an existing folder")
    export_onnx(load_scorer(weights, card=model_card, device="cpu", dtype="fp32"), to)
