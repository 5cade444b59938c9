"""``facegate models``: which quality models are known, where they come from, and what runs them best here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from facegate.cli.options import ModelCardOption
from facegate.errors import ModelError

app = typer.Typer(no_args_is_help=True, help="Known quality models: list, show, pull, verify, tune, export.")

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
        mark = " (default)" if name == DEFAULT_MODEL else ""
        place = f"\n  hub: {card.hub} (facegate models pull {name})" if card.hub else ""
        size = f"patch {arch.patch_size}, {arch.embed_dim} wide, {arch.depth} blocks, {arch.num_heads} heads"
        sys.stdout.write(f"{name}{mark}\n  {size}\n  {card.source}\n  license: {card.license}{place}\n")


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
    """Load a file strictly, score one gray crop, and print what it is.

    \b
    facegate models verify adaface_vit_base.pt --model-card cvlface-vit-base
    """
    import numpy as np

    from facegate.scoring.engine import load_scorer
    from facegate.scoring.families import file_sha256

    scorer = load_scorer(weights, card=model_card, device="cpu", dtype="fp32")
    scorer.score(np.full((1, 112, 112, 3), 127, np.uint8))
    digest = file_sha256(weights)
    sys.stdout.write(f"{weights}: fits card '{scorer.card.name}', SHA-256 {digest}\n")


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A known card, or a hub id: owner/name.")],
    file: Annotated[
        str | None,
        typer.Option(help="The weight file in the repository, where it has several.", show_default=False),
    ] = None,
) -> None:
    """Fetch weights from the Hugging Face hub; a pull that was interrupted goes on where it stopped.

    \b
    facegate models pull cvlface-vit-base
    facegate models pull owner/name --file model.safetensors
    """
    from facegate.scoring.families import file_sha256
    from facegate.scoring.hub import card_of, pull

    path = pull(name, file)
    sys.stdout.write(f"{path}\nSHA-256 {file_sha256(path)}\n")
    if "/" in name and card_of(name) is None:
        sys.stderr.write(f"no known card names {name}: give --model-card, unless the file carries its own\n")


@app.command()
def tune(
    weights: Weights = None,
    model_card: ModelCardOption = None,
) -> None:
    """Measure which backend runs a model fastest on this machine; 'auto' takes it from then on.

    Exports the model once (seconds to minutes), runs torch, ONNX Runtime and OpenVINO where installed, and leaves
    out whatever ranks crops or embeds them differently from fp32.

    \b
    facegate models tune
    """
    from rich.console import Console
    from rich.table import Table

    from facegate.pipeline.flow.cores import share_cores
    from facegate.scoring.backend_selection import example_crops, tune
    from facegate.scoring.engine import load_scorer, native_bf16

    share_cores()  # as in 'facegate run'
    scorer = load_scorer(weights, card=model_card, device="cpu", dtype="fp32", backend="torch")
    screen = Console(stderr=True, highlight=False)
    trials = tune(scorer.reading, example_crops(), native_bf16("cpu"), screen.print)
    table = Table("backend", "format", "ms per crop", "rank agreement", "least cosine", "")
    taken = next((trial for trial in trials if trial.acceptable(scorer.card)), None)
    for trial in trials:
        verdict = "taken" if trial is taken else "" if trial.acceptable(scorer.card) else "not exact enough"
        numbers = (f"{trial.ms_per_crop:.2f}", f"{trial.rank_agreement:.5f}", f"{trial.embedding_agreement:.5f}")
        table.add_row(trial.backend, trial.dtype, *numbers, verdict)
    Console(highlight=False).print(table)


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
    scorer = load_scorer(weights, card=model_card, device="cpu", dtype="fp32", backend="torch")
    export_onnx(scorer.one_pass, scorer.card, scorer.algorithm, to)
