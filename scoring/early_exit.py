"""Early exit: crops that are clearly below the gate leave the network after a few blocks.

After block k, the score so far (ViTNT-FIQA over the blocks up to k, uniform over patches) predicts whether the
whole pass would end below the gate. The threshold per k is the highest one that drops no more than a stated share
of all crops wrongly, judged by the full-depth decision. It is fitted on one half of the crops; the shares in the
table are measured on the other half.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.errors import ConfigError
from facegate.scoring.engine import MAX_BATCH, Scorer

LEAST_CROPS = 200


class ExitRow(msgspec.Struct, frozen=True):
    """One place to leave."""

    block: int
    threshold: float
    left: float
    """Share of the held-out crops that leave here."""
    wrong: float
    """Share of the held-out crops that leave although the full pass would have let them through."""
    saved: float
    """Share of the blocks' work that this saves on the held-out crops."""


class ExitTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``facegate calibrate-exit`` writes."""

    model: str
    algorithm: str
    min_quality: int
    bound: float
    crops: int
    below_gate: float
    """Share of the held-out crops that the full pass puts below the gate: the most that could leave."""
    rows: tuple[ExitRow, ...]
    best: int | None
    """Block of the row that saves most within the bound; ``None`` where leaving early does not pay."""

    def exits(self) -> dict[int, float]:
        """For :func:`~facegate.scoring.engine.load_scorer`."""
        return {row.block: row.threshold for row in self.rows if row.block == self.best}


def calibrate(
    scorer: Scorer,
    crops: NDArray[np.uint8],
    min_quality: int,
    bound: float = 0.01,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ExitTable:
    """Find the exits of a model for a gate at ``min_quality`` from crops ``(B, 112, 112, 3)`` as cameras bring.

    Raises:
        ConfigError: too few crops to say anything about the bound, or no crop passes the gate.
    """
    least = max(LEAST_CROPS, int(np.ceil(4 / bound)))
    if len(crops) < least:
        raise ConfigError(f"a bound of {bound:g} needs {least} crops or more, got {len(crops)}")
    passes: list[NDArray[np.bool_]] = []
    partial: list[NDArray[np.float32]] = []
    for start in range(0, len(crops), MAX_BATCH):
        batch = crops[start : start + MAX_BATCH]
        passes.append(scorer.score(batch).quality >= min_quality)
        partial.append(_scores_so_far(scorer, batch))
        progress(start + len(batch), len(crops))
    good, so_far = np.concatenate(passes), np.concatenate(partial)
    if not good.any():
        raise ConfigError(f"no crop reaches quality {min_quality}: calibrate on crops of both kinds")
    order = np.random.default_rng(0).permutation(len(crops))
    fit, held = order[: len(crops) // 2], order[len(crops) // 2 :]
    depth = scorer.network.arch.depth
    rows = []
    for column, block in enumerate(scorer.settings.blocks[1:]):
        if block == depth - 1:
            continue
        threshold = _threshold(so_far[fit, column], good[fit], bound)
        leaves = so_far[held, column] < threshold
        rows.append(
            ExitRow(
                block=block,
                threshold=threshold,
                left=float(leaves.mean()),
                wrong=float((leaves & good[held]).mean()),
                saved=float(leaves.mean()) * (depth - 1 - block) / depth,
            )
        )
    paying = [row for row in rows if row.saved >= 0.02 and row.wrong <= bound]
    return ExitTable(
        model=scorer.card.name,
        algorithm=scorer.algorithm,
        min_quality=min_quality,
        bound=bound,
        crops=len(crops),
        below_gate=float(1 - good[held].mean()),
        rows=tuple(rows),
        best=max(paying, key=lambda row: row.saved).block if paying else None,
    )


def read_table(path: Path, scorer_model: str, algorithm: str) -> ExitTable:
    """Read a table and check that it belongs to the model.

    Raises:
        ConfigError: unreadable, or made for another model or other settings.
    """
    try:
        table = msgspec.json.decode(path.read_bytes(), type=ExitTable)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read exit table {path}: {error}; make it with facegate calibrate-exit"
        ) from error
    if (table.model, table.algorithm) != (scorer_model, algorithm):
        made = f"{table.model} {table.algorithm}"
        raise ConfigError(
            f"exit table {path} was made for {made}, not for {scorer_model} {algorithm}: make a new one"
        )
    return table


def _threshold(so_far: NDArray[np.float32], good: NDArray[np.bool_], bound: float) -> float:
    """The highest value under which at most ``bound`` of all crops are good ones."""
    allowed = int(bound * len(so_far))
    of_good = np.sort(so_far[good])
    return float(of_good[allowed]) if allowed < len(of_good) else float(of_good[-1])


def _scores_so_far(scorer: Scorer, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """``(B, T - 1)``: the score after each scored block from the second on."""
    import torch

    from facegate.scoring.vitnt import TokenPath

    one_pass, network, settings = scorer.one_pass, scorer.network, scorer.settings
    path = TokenPath(network.norm, settings.distance, one_pass.spread)
    columns = []
    with torch.inference_mode():
        x = network.tokens(one_pass.normalised(torch.from_numpy(np.ascontiguousarray(crops))))
        for index in range(settings.blocks[-1] + 1):
            x = network.blocks[index](x, False, False)[0]
            if index in settings.blocks:
                path.add(x[:, network.prefix_tokens :])
                if path.pairs:
                    columns.append(path.patch_quality(settings.alpha).mean(1))
    found: NDArray[np.float32] = torch.stack(columns, 1).float().numpy()
    return found
