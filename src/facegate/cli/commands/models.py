"""``facegate models``: quality models, their cards, and the fastest backend for this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facegate.cli.options import ModelCardOption
from facegate.cli.output.lines import print_json
from facegate.errors import ModelError, os_errors

if TYPE_CHECKING:
    from facegate.scoring.families import ModelCard

app = typer.Typer(no_args_is_help=True, help="Manage quality models: list, show, pull, verify, tune, export.")

Weights = Annotated[
    Path | None,
    typer.Argument(metavar="WEIGHTS", help="Weights (.safetensors or .pt).", show_default="the built-in model"),
]


def license_lines(card: ModelCard) -> str:
    """License of the weights, and of what they were made from."""
    lines = [f"  license: {card.license}"]
    for item in card.made_from:
        source = f" ({item.source})" if item.source else ""
        lines.append(f"    {item.part}: {item.name}, {item.license}{source}")
    return "\n".join(lines)


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
        sys.stdout.write(f"{name}{mark}\n  {size}\n  {card.source}\n{license_lines(card)}{place}\n")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a model card, or YAML file.")],
) -> None:
    """Print a model card as JSON.

    \b
    facegate models show cvlface-vit-base
    """
    from facegate.scoring.families import read_card

    print_json(read_card(name))


@app.command()
def verify(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="Weights (.safetensors or .pt).")],
    model_card: ModelCardOption = None,
) -> None:
    """Load weights strictly, test them on generated faces, and print the model card's name, SHA-256 and licenses.

    Exits with 1 if faces do not score higher than degraded copies of themselves.

    \b
    facegate models verify adaface_vit_base.pt --model-card cvlface-vit-base
    """
    from facegate.recognition.self_test.quality import find_problem
    from facegate.scoring.engine import load_scorer
    from facegate.scoring.families import file_sha256

    scorer = load_scorer(weights, card=model_card, device="cpu", dtype="fp32")
    problem = find_problem(scorer)
    digest = file_sha256(weights)
    sys.stdout.write(
        f"{weights}: matches card '{scorer.card.name}', SHA-256 {digest}\n{license_lines(scorer.card)}\n"
    )
    if problem is not None:
        raise ModelError(f"{weights} failed its self-test: {problem}")


@app.command()
def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a model card, or hub ID (owner/name).")],
    file: Annotated[
        str | None,
        typer.Option(help="Weights file in the repository, if it has several.", show_default=False),
    ] = None,
) -> None:
    """Download weights from the Hugging Face hub; an interrupted download is resumed.

    \b
    facegate models pull cvlface-vit-base
    facegate models pull owner/name --file model.safetensors
    """
    from facegate.scoring.families import file_sha256
    from facegate.scoring.hub import card_of, pull

    path = pull(name, file)
    sys.stdout.write(f"{path}\nSHA-256 {file_sha256(path)}\n")
    if "/" in name and card_of(name) is None:
        sys.stderr.write(f"no model card for {name}: use --model-card unless the file contains one\n")


@app.command()
def tune(
    weights: Weights = None,
    model_card: ModelCardOption = None,
) -> None:
    """Measure the fastest backend for a model on this machine; backend 'auto' then uses it.

    Exports the model once (seconds to minutes), measures torch, ONNX Runtime and OpenVINO if installed, and
    rejects a backend whose ranking of crops or embeddings differ from fp32.

    \b
    facegate models tune
    """
    from rich.console import Console
    from rich.table import Table

    from facegate.cpu import share_cores
    from facegate.scoring.backend_selection import example_crops, tune
    from facegate.scoring.engine import load_scorer, native_bf16

    share_cores()  # as in 'facegate run'
    scorer = load_scorer(weights, card=model_card, device="cpu", dtype="fp32", backend="torch")
    screen = Console(stderr=True, highlight=False)
    trials = tune(scorer.reading, example_crops(), native_bf16("cpu"), screen.print)
    table = Table("backend", "format", "ms per crop", "rank agreement", "min. cosine", "")
    selected = next((trial for trial in trials if trial.acceptable(scorer.card)), None)
    for trial in trials:
        verdict = "selected" if trial is selected else "" if trial.acceptable(scorer.card) else "too inaccurate"
        numbers = (f"{trial.ms_per_crop:.2f}", f"{trial.rank_agreement:.5f}", f"{trial.embedding_agreement:.5f}")
        table.add_row(trial.backend, trial.dtype, *numbers, verdict)
    Console(highlight=False).print(table)


@app.command()
def export(
    to: Annotated[Path, typer.Option(help="ONNX file to write.")],
    weights: Weights = None,
    model_card: ModelCardOption = None,
) -> None:
    """Export one ONNX graph: uint8 crops in; raw score, quality and embedding out; dynamic batch.

    \b
    facegate models export --to quality.onnx
    facegate models export face.safetensors --to quality.onnx
    """
    from facegate.scoring.engine import load_scorer
    from facegate.scoring.export import export_onnx

    if not to.absolute().parent.is_dir():
        raise ModelError(f"cannot write {to}: give a file in an existing folder")
    scorer = load_scorer(weights, card=model_card, device="cpu", dtype="fp32", backend="torch")
    with os_errors(ModelError, f"cannot write {to}"):
        export_onnx(scorer.one_pass, scorer.card, scorer.algorithm, to)
