"""Suggests the card of an unknown network: every color and range, then every alignment."""

from __future__ import annotations

from pathlib import Path

import msgspec

from facegate.cpu import threads
from facegate.errors import ModelError
from facegate.extras import require
from facegate.inference.session import session
from facegate.recognition.embedders import OnnxCard, OnnxEmbedder
from facegate.recognition.self_test.candidates import RANGES, Candidate, first_card
from facegate.recognition.self_test.checks import CardTrial, best_of, measured, trials


def suggest(model: Path) -> tuple[CardTrial, list[CardTrial]]:
    """The card that suits a network best, and all that were tried.

    Raises:
        ModelError: the file cannot be used, or its input is no picture.
    """
    first = OnnxEmbedder(model, first_card(model.stem, input_shape(model)))
    found = []
    for color in ("rgb", "bgr"):
        for mean, std in RANGES:
            card = msgspec.structs.replace(first.card, color=color, mean=mean, std=std)
            found += measured(first, Candidate(card, ""))
    if not found:
        raise ModelError(f"{model} gives no usable output for any input: it is damaged, or no recognizer")
    found += trials(first.with_card(best_of(found).candidate.card))
    return best_of(found), found


def input_shape(model: Path) -> tuple[int | None, ...]:
    """Shape of the first input of a network; ``None`` for what may vary.

    Raises:
        ModelError: the file cannot be loaded.
    """
    if model.suffix != ".xml":
        return tuple(
            size if isinstance(size, int) else None for size in session(model, threads()).get_inputs()[0].shape
        )
    require("openvino", str(model))
    import openvino

    try:
        shape = openvino.Core().read_model(model).input(0).partial_shape
    except Exception as error:  # openvino raises RuntimeError for everything
        raise ModelError(f"cannot load {model}: {' '.join(str(error).split())[:200]}") from error
    return tuple(None if size.is_dynamic else size.get_length() for size in shape)


def as_yaml(card: OnnxCard) -> str:
    """A card as its file has it."""
    lines = [f"name: {card.name}", f"threshold: {card.threshold:g}", f"color: {card.color}"]
    lines += [f"mean: {card.mean:g}", f"std: {card.std:g}"]
    if card.landmarks:
        points = "".join(f"- [{x:g}, {y:g}]\n" for x, y in card.landmarks)
        return "\n".join([*lines, f"side: {card.side}", "landmarks:"]) + f"\n{points}"
    return "\n".join([*lines, f"columns: [{card.columns[0]}, {card.columns[1]}]"]) + "\n"
