"""4: how many patches, and how wide tokens, does the score need?

    python -m benchmarks.research.patches

Of the shipped network alone: its 49 patches are thinned out (a chess board, every other row and column, the
inner ones, one in the middle) and its tokens are projected to fewer dimensions at random before their way is
measured (uniform over patches). LFW folds 1-4, half degraded.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.research.common import Array, begin, lfw, ratios
from facegate.scoring.engine import load_scorer

TOGETHER = 64
WIDTHS = (4, 16, 48, 96)


def main() -> None:
    arguments = begin(__doc__)
    photographs = lfw(arguments.data, degraded=arguments.seed)
    crops = photographs.faces.crops
    scorer = load_scorer(device="cpu", dtype="fp32", backend="torch", quality="vitnt")
    network, alpha, blocks = scorer.network, scorer.settings.alpha, scorer.settings.blocks
    generator = torch.Generator().manual_seed(arguments.seed)
    dim, grid = network.arch.embed_dim, network.arch.grid
    random = {width: torch.randn(dim, width, generator=generator) / width**0.5 for width in WIDTHS}
    parts: dict[str, list[Array]] = {}

    def take(name: str, units: torch.Tensor) -> None:
        steps = (units[:, 1:] - units[:, :-1]).norm(dim=-1).mean(1)
        parts.setdefault(name, []).append((2 * torch.sigmoid(-alpha * steps)).double().numpy())

    with torch.inference_mode():
        for start in range(0, len(crops), TOGETHER):
            batch = torch.from_numpy(np.ascontiguousarray(crops[start : start + TOGETHER]))
            x = network.tokens(scorer.one_pass.normalized(batch))
            normed = []
            for index, block in enumerate(network.blocks):
                x = block(x, False, False)[0]
                if index in blocks:
                    normed.append(network.norm(x[:, network.prefix_tokens :]).float())
            stack = torch.stack(normed, 1)
            take("192", F.normalize(stack, dim=-1))
            for width, matrix in random.items():
                take(str(width), F.normalize(stack @ matrix, dim=-1))
    patches = {name: np.concatenate(values) for name, values in parts.items()}
    rows, columns = np.divmod(np.arange(grid * grid), grid)
    kept = {
        "49 patches": rows >= 0,
        "25, a chess board": (rows + columns) % 2 == 0,
        "16, every other row and column": (rows % 2 == 0) & (columns % 2 == 0),
        "25, the inner ones": (abs(rows - 3) <= 2) & (abs(columns - 3) <= 2),
        "9, in the middle": (abs(rows - 3) <= 1) & (abs(columns - 3) <= 1),
        "24, around them": (abs(rows - 3) == 3) | (abs(columns - 3) == 3),
    }
    print("patches (192 dimensions)")
    found = {name: patches["192"][:, where].mean(1) for name, where in kept.items()}
    print(ratios(photographs, found, "49 patches", arguments.seed), flush=True)
    print("dimensions (49 patches)")
    print(ratios(photographs, {name: values.mean(1) for name, values in patches.items()}, "192", arguments.seed))


if __name__ == "__main__":
    main()
