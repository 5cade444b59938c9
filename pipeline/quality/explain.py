"""Explains a quality: components, and advice on what would improve it."""

from __future__ import annotations

import msgspec

from facegate.pipeline.quality.advice import Advice, adviser_for
from facegate.pipeline.quality.components import Components, components, measure
from facegate.pipeline.records import Detection, Floats, Image, ScoredFace


class QualityReasons(msgspec.Struct, frozen=True, omit_defaults=True):
    """Components and advice of one face."""

    components: Components
    """0 (worst) to 100 each."""
    advice: Advice | None = None
    """``None`` for a quality model without a trained adviser."""


def reasons(
    crop: Image, detection: Detection, frame_size: tuple[int, int], patches: Floats, quality: int, model: str
) -> QualityReasons:
    """Explain the quality of a face.

    Args:
        crop: the aligned ``(112, 112, 3)`` uint8 RGB crop.
        detection: the face in pixels of its frame.
        frame_size: width and height of that frame.
        patches: ``(N,)`` patch qualities in (0, 1].
        quality: 0..100.
        model: name of the quality model.
    """
    seen = measure(crop, detection, frame_size)
    adviser = adviser_for(model)
    own = components(seen)
    return QualityReasons(own, None if adviser is None else adviser.advise(seen, own, patches, quality))


def reasons_of(scored: ScoredFace, model: str) -> QualityReasons:
    """Explain the quality of a scored face."""
    face = scored.face
    size = (face.frame.width, face.frame.height)
    return reasons(face.crop, face.detection, size, scored.patches, scored.quality, model)
