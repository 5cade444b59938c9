"""7: can the score be fooled, and does it show?

    python -m benchmarks.research.adversaries

FGSM and PGD (ten steps) on ViTNT-FIQA through the shipped network: bad faces raised, good ones sunk, by at most
2, 4 and 8 gray levels; a sticker learned for all bad faces at once; JPEG and resizing as a defense. Does
recognition follow (similarity to the untouched crop)? And do the four numbers of one pass disagree when one is
attacked? The flag is the difference of calibrated ``vitnt`` and each other number; judged by AUC, with a
bootstrap over faces.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from benchmarks.research.common import Array, begin, lfw, mean_interval
from facegate.scoring.calibration import Calibration
from facegate.scoring.engine import Scorer, load_scorer
from facegate.scoring.vitnt import attention_received, image_quality

Crops = NDArray[np.uint8]
FACES, STEPS, TOGETHER = 120, 10, 40
EPSILONS = (2, 4, 8)
STICKER = slice(4, 28), slice(4, 28)
"""Beside the face, at the edge of the crop: as large as a coin held up."""


class Attacker:
    """Follows the score's gradient to the pixels."""

    def __init__(self, scorer: Scorer) -> None:
        self._pass, self._settings = scorer.one_pass, scorer.settings

    def value(self, pixels: Tensor) -> Tensor:
        """The raw score ``(B,)`` of pixels ``(B, 112, 112, 3)`` in gray levels; the pass itself works in place."""
        network, blocks = self._pass.network, self._settings.blocks
        x, units, received = network.tokens(self._pass.normalized(pixels)), [], pixels.new_zeros(0)
        for index in range(blocks[-1] + 1):
            x, weights, _ = network.blocks[index](x, index == blocks[-1], False)
            if index in blocks:
                units.append(F.normalize(network.norm(x), dim=-1))
            if weights is not None:
                received = attention_received(weights, 0)
        stack = torch.stack(units)
        patches = 2 * torch.sigmoid(-self._settings.alpha * (stack[1:] - stack[:-1]).norm(dim=-1).mean(0))
        return image_quality(patches, received)

    def slope(self, pixels: Tensor) -> Tensor:
        wanted = pixels.clone().requires_grad_(True)
        (found,) = torch.autograd.grad(self.value(wanted).log().sum(), wanted)
        return found

    def change(self, crops: Crops, epsilon: float, sign: float, steps: int) -> Crops:
        """PGD; one step is FGSM."""
        parts = []
        for start in range(0, len(crops), TOGETHER):
            origin = torch.from_numpy(crops[start : start + TOGETHER].copy()).float()
            now, step = origin.clone(), epsilon if steps == 1 else 2.5 * epsilon / steps
            for _ in range(steps):
                now = now + sign * step * self.slope(now).sign()
                now = torch.minimum(torch.maximum(now, origin - epsilon), origin + epsilon).clamp(0, 255)
            parts.append(now.round().byte().numpy())
        return np.concatenate(parts)

    def sticker(self, crops: Crops, steps: int = 60) -> Crops:
        """One picture for all."""
        picture = torch.full((24, 24, 3), 128.0)
        for step in range(steps):
            rows = np.random.default_rng(step).choice(len(crops), min(16, len(crops)), replace=False)
            batch = torch.from_numpy(crops[rows].copy()).float()
            batch[:, STICKER[0], STICKER[1]] = picture
            slope = self.slope(batch)[:, STICKER[0], STICKER[1]].mean(0)
            picture = (picture + 8.0 * slope.sign()).clamp(0, 255)
        stuck = crops.copy()
        stuck[:, STICKER[0], STICKER[1]] = picture.round().byte().numpy()
        return stuck


def jpeg(crops: Crops) -> Crops:
    packed = [cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 75])[1] for crop in crops]
    return np.stack([np.asarray(cv2.imdecode(each, cv2.IMREAD_COLOR), np.uint8) for each in packed])


def resized(crops: Crops) -> Crops:
    small = [cv2.resize(crop, (80, 80), interpolation=cv2.INTER_AREA) for crop in crops]
    return np.stack([cv2.resize(each, (112, 112), interpolation=cv2.INTER_CUBIC) for each in small])


def auc(attacked: Array, plain: Array) -> float:
    ranks = rankdata(np.concatenate([attacked, plain]))[: len(attacked)]
    return float((ranks.sum() - len(attacked) * (len(attacked) + 1) / 2) / (len(attacked) * len(plain)))


def auc_interval(attacked: Array, plain: Array, seed: int) -> tuple[float, float, float]:
    rng = np.random.default_rng(seed)
    values = [
        auc(attacked[rng.integers(0, len(attacked), len(attacked))], plain[rng.integers(0, len(plain), len(plain))])
        for _ in range(300)
    ]
    low, high = np.percentile(values, [2.5, 97.5])
    return auc(attacked, plain), float(low), float(high)


def main() -> None:
    arguments = begin(__doc__)
    crops = lfw(arguments.data, degraded=arguments.seed).faces.crops
    judge = lfw(arguments.data).judges["y1"].embedder
    scorer = load_scorer(device="cpu", dtype="fp32", backend="torch", quality="vitnt")
    scales = {name: Calibration(scorer.card.calibration[name]) for name in ("vitnt", "attention", "norm")}
    estimate = load_scorer(device="cpu", quality="estimate")
    scales["estimate"] = Calibration(scorer.card.calibration["estimate"])
    quality = scorer.score(crops, embedding=False).quality
    rng = np.random.default_rng(arguments.seed)
    bad = crops[rng.choice(np.flatnonzero(quality <= 20), FACES, replace=False)]
    good = crops[rng.choice(np.flatnonzero(quality >= 60), FACES, replace=False)]
    attacker = Attacker(scorer)
    with torch.no_grad():  # what is attacked is the score itself
        same = attacker.value(torch.from_numpy(good[:8].copy()).float()).numpy()
    np.testing.assert_allclose(same, scorer.score(good[:8], embedding=False).raw_score, atol=1e-5)

    def numbers(each: Crops) -> dict[str, Array]:
        out = scorer.score(each)
        assert out.norm is not None
        raw = {
            "vitnt": out.raw_score,
            "attention": out.attention,
            "norm": out.norm,
            "estimate": estimate.score(each).raw_score,
        }
        return {name: scales[name].exact(values) for name, values in raw.items()}

    def apart(told: dict[str, Array]) -> dict[str, Array]:
        return {name: np.abs(told["vitnt"] - told[name]) for name in ("attention", "norm", "estimate")}

    plain = {"raise": numbers(bad), "sink": numbers(good)}
    clean = {name: np.concatenate([apart(plain[way])[name] for way in plain]) for name in apart(plain["raise"])}
    unit = {"raise": judge.embed(list(bad)), "sink": judge.embed(list(good))}
    for way, faces, sign in (("raise", bad, 1.0), ("sink", good, -1.0)):
        before = mean_interval(plain[way]["vitnt"])
        print(f"{way}: {FACES} faces, quality {before[0]:.1f} ({before[1]:.1f} to {before[2]:.1f}) before")
        attacks: dict[str, Callable[[], Crops]] = {}
        for epsilon in EPSILONS:
            attacks[f"FGSM {epsilon}/255"] = lambda e=epsilon, f=faces, s=sign: attacker.change(f, e, s, 1)  # type: ignore[misc]
            attacks[f"PGD {epsilon}/255"] = lambda e=epsilon, f=faces, s=sign: attacker.change(f, e, s, STEPS)  # type: ignore[misc]
        if way == "raise":
            attacks["sticker"] = lambda: attacker.sticker(bad)
        for name, attack in attacks.items():
            changed = attack()
            told = numbers(changed)
            differ = apart(told)
            same = (judge.embed(list(changed)) * unit[way]).sum(1)
            after = {what: mean_interval(values) for what, values in told.items()}
            defended = {
                "JPEG": numbers(jpeg(changed))["vitnt"].mean(),
                "resized": numbers(resized(changed))["vitnt"].mean(),
            }
            print(
                f"  {name:12} "
                + ", ".join(f"{what} {v[0]:.0f} ({v[1]:.0f} to {v[2]:.0f})" for what, v in after.items())
                + f"; recognizer's similarity to before {same.mean():.2f}; vitnt after "
                + ", ".join(f"{what} {value:.0f}" for what, value in defended.items())
            )
            flags = {what: auc_interval(values, clean[what], arguments.seed) for what, values in differ.items()}
            print(
                "               told by the difference from "
                + ", ".join(f"{what} AUC {v[0]:.2f} ({v[1]:.2f} to {v[2]:.2f})" for what, v in flags.items()),
                flush=True,
            )


if __name__ == "__main__":
    main()
