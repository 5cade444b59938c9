"""Advice to the person in front of the camera: the one defect whose removal would raise the quality most.

Testing that on the picture itself would cost another forward pass per defect. Instead, counterfactuals were scored
in advance: faces of good quality with and without each of seven defects (``python -m facegate.training.advice``). A
linear model estimates from measurements and patch qualities how probable each defect is and how many points
removing it gains. The advice is the defect with the highest product, unless its component contradicts it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import cache
from importlib.resources import files
from math import log

import cv2
import msgspec
import numpy as np

from facegate.pipeline.quality.components import Components, FaceMeasurements
from facegate.pipeline.records import Floats

MIN_GAIN = 4.0
"""Minimum expected gain in points of quality (of 100) for a defect to be mentioned."""
CLEAR = 40
"""Below this quality, a face without a detected defect is not called good."""
GRID = 7
"""Rows and columns of the grid to which patch qualities are resampled."""
EYE_ROWS, MOUTH_ROWS = slice(2, 4), slice(5, 7)


class Defect(StrEnum):
    """Defects of a face picture."""

    DARK = "dark"
    BRIGHT = "bright"
    BLURRED = "blurred"
    SMALL = "small"
    TURNED = "turned"
    COVERED = "covered"
    CUT_OFF = "cut off"


SENTENCES = {
    Defect.DARK: "too dark: more light on the face",
    Defect.BRIGHT: "too bright: less light on the face",
    Defect.BLURRED: "blurred: hold still",
    Defect.SMALL: "too far away: come closer",
    Defect.TURNED: "turn to the camera",
    Defect.COVERED: "uncover the face",
    Defect.CUT_OFF: "step into the picture",
}
EYES, MOUTH = "uncover the eyes", "uncover the mouth"
GOOD, UNCLEAR = "good", "poor, cause unknown"
FAULTLESS = 100
"""At this component, its defect is not named: the number would contradict the words."""
MEASURED: dict[Defect, Callable[[Components], int]] = {
    Defect.DARK: lambda seen: seen.brightness,
    Defect.BRIGHT: lambda seen: seen.brightness,
    Defect.BLURRED: lambda seen: seen.sharpness,
    Defect.SMALL: lambda seen: seen.size,
    Defect.TURNED: lambda seen: min(seen.yaw, seen.pitch),
    Defect.CUT_OFF: lambda seen: seen.whole,
}
"""The component that measures a defect; none measures what covers a face."""


class Advice(msgspec.Struct, frozen=True, omit_defaults=True):
    """Advice in one sentence."""

    text: str
    defect: Defect | None = None
    """``None`` if no defect was detected."""
    gain: int = 0
    """Expected gain in points of quality when it is removed."""


class AdviceModel(msgspec.Struct, frozen=True):
    """Learned parameters for one quality model: ``C`` classes (none, then each defect), ``F`` features."""

    model: str
    """Name of the quality model."""
    weights: list[list[float]]
    """``(C, F + 1)``: log odds by feature, and the intercept."""
    gains: list[list[float]]
    """``(C - 1, 2)``: points gained by removing a defect: intercept and slope over the quality."""


class Adviser:
    """Gives advice with the learned parameters."""

    def __init__(self, learned: AdviceModel) -> None:
        self._weights = np.array(learned.weights, np.float32)
        self._gains = np.array(learned.gains, np.float32)

    def advise(self, seen: FaceMeasurements, measured: Components, patches: Floats, quality: float) -> Advice:
        """Return the advice for a face.

        Args:
            seen: measurements of the face.
            measured: its components.
            patches: ``(N,)`` patch qualities in (0, 1], row by row.
            quality: 0..100.
        """
        odds = self._weights[:, :-1] @ features(seen, patches, quality) + self._weights[:, -1]
        likely = np.exp(odds - odds.max())
        gains = np.minimum(np.maximum(self._gains[:, 0] + self._gains[:, 1] * quality, 0.0), 100.0 - quality)
        won = likely[1:] / likely.sum() * gains
        best = int(won.argmax())
        defect = tuple(Defect)[best]
        is_contradicted = defect in MEASURED and MEASURED[defect](measured) >= FAULTLESS
        if won[best] < MIN_GAIN or is_contradicted:
            return Advice(GOOD if quality >= CLEAR else UNCLEAR)
        text = _covered(patches) if defect is Defect.COVERED else SENTENCES[defect]
        return Advice(text, defect, round(float(won[best])))


def features(seen: FaceMeasurements, patches: Floats, quality: float) -> Floats:
    """Return the features ``(F,)`` of the linear model, each of the order of one."""
    steady = _grid(patches)
    middle, spread = cv2.meanStdDev(steady)
    relative = (steady - middle) / max(spread[0, 0], 1e-3)
    sides = np.abs(relative[:, : GRID // 2] - relative[:, : GRID // 2 : -1])
    yaw, pitch = seen.yaw / 20.0, seen.pitch / 20.0
    own = (
        *(seen.inside, min(seen.inside, 0.95)),
        *(log(seen.lightness + 0.02), seen.lightness, seen.contrast, seen.white),
        *(log(max(seen.eyes_px, 1.0)), seen.detail),
        *(abs(yaw), yaw**2, pitch, abs(pitch), abs(seen.roll) / 20.0, seen.sides),
        *(quality / 50.0, middle[0, 0], spread[0, 0]),
    )
    return np.concatenate([own, relative.ravel(), sides.ravel()]).astype(np.float32)


@cache
def adviser_for(model: str) -> Adviser | None:
    """Return the adviser for a quality model; ``None`` if none was trained for it."""
    kept = msgspec.json.decode(files(__package__).joinpath("advice.json").read_bytes(), type=AdviceModel)
    return Adviser(kept) if kept.model == model else None


def _grid(patches: Floats) -> Floats:
    side = round(len(patches) ** 0.5)
    logs = np.log(np.maximum(patches, 1e-6)).astype(np.float32).reshape(side, side)
    return logs if side == GRID else cv2.resize(logs, (GRID, GRID), interpolation=cv2.INTER_AREA)


def _covered(patches: Floats) -> str:
    steady = _grid(patches)
    apart = float(steady[EYE_ROWS].mean() - steady[MOUTH_ROWS].mean())
    return EYES if apart < 0 else MOUTH
