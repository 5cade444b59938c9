"""Route ``/score``: scores the faces of a picture as the gate does."""

from __future__ import annotations

import base64
from typing import Annotated

import msgspec
from fastapi import APIRouter, File, UploadFile
from pydantic import BaseModel

from facegate.console.scoring import ScoredPicture, ScoredPictureFace
from facegate.console.web.errors import ERROR_RESPONSES, ApiError, ConsoleDep
from facegate.console.web.models import QualityOut, ReasonsOut
from facegate.console.web.people import MAX_FILE_BYTES
from facegate.pipeline.images import encode_jpeg
from facegate.pipeline.records import QualityInfo
from facegate.sinks.wire import SOFTWARE, reasons_block

router = APIRouter(tags=["score"], responses=ERROR_RESPONSES)


class ScoredOut(BaseModel):
    """A scored face."""

    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the picture."""
    confidence: float
    landmarks: list[tuple[float, float]]
    """Left eye, right eye, nose, left and right mouth corner as seen in the picture, in pixels."""
    quality: QualityOut
    reasons: ReasonsOut
    crop: str
    """Aligned crop, a 112x112 JPEG in Base64."""


class ScoreOut(BaseModel):
    """Faces of a picture."""

    width: int
    height: int
    faces: list[ScoredOut]
    """By falling confidence; at most 100."""


@router.post("/score")
def score(console: ConsoleDep, picture: Annotated[UploadFile, File()]) -> ScoreOut:
    """Detect and score the faces of one picture (JPEG, PNG, WebP, BMP).

    The picture is not stored. Concurrent requests share a batch.
    """
    content = picture.file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        limit = MAX_FILE_BYTES // 2**20
        raise ApiError("too_large", f"the picture exceeds {limit} MiB", "send a smaller picture")
    return _out(console.scoring.score("the picture", content))


def _out(found: ScoredPicture) -> ScoreOut:
    return ScoreOut(width=found.width, height=found.height, faces=[_face(face, found.info) for face in found.faces])


def _face(face: ScoredPictureFace, info: QualityInfo) -> ScoredOut:
    x1, y1, x2, y2 = (round(value, 2) for value in face.detection.box)
    return ScoredOut(
        box=(x1, y1, x2, y2),
        confidence=round(face.detection.confidence, 4),
        landmarks=[(round(float(x), 2), round(float(y), 2)) for x, y in face.detection.landmarks],
        quality=QualityOut(
            value=face.quality,
            raw=face.raw_score,
            algorithm=info.algorithm,
            model=info.model,
            calibration=info.calibration,
            version=SOFTWARE,
        ),
        reasons=ReasonsOut(**msgspec.structs.asdict(reasons_block(face.reasons))),
        crop=base64.b64encode(encode_jpeg(face.crop, 95)).decode(),
    )
