"""``/score``: the faces of a picture, judged as the gate judges them."""

from __future__ import annotations

import base64
from typing import Annotated

import msgspec
from fastapi import APIRouter, File, UploadFile
from pydantic import BaseModel

from facegate.console.scoring import ScoredPicture, ScoredPictureFace
from facegate.console.web.errors import ERROR_RESPONSES, ApiError, RouteErrors
from facegate.console.web.models import QualityOut, ReasonsOut
from facegate.console.web.people import MAX_FILE_BYTES
from facegate.pipeline.images import encode_jpeg
from facegate.pipeline.records import QualityInfo
from facegate.sinks.wire import SOFTWARE, reasons_block

router = APIRouter(tags=["score"], responses=ERROR_RESPONSES)


class ScoredOut(BaseModel):
    """A face of the picture."""

    box: tuple[float, float, float, float]
    """Pixels of the picture."""
    confidence: float
    landmarks: list[tuple[float, float]]
    """Left eye, right eye, nose, corners of the mouth, as seen in the picture."""
    quality: QualityOut
    reasons: ReasonsOut
    crop: str
    """Base64 of a JPEG, 112x112, aligned."""


class ScoreOut(BaseModel):
    """What there is in a picture."""

    width: int
    height: int
    faces: list[ScoredOut]
    """The surest first, a hundred at most; empty where none was found."""


@router.post("/score")
def score(console: RouteErrors, picture: Annotated[UploadFile, File()]) -> ScoreOut:
    """Find the faces of one picture (JPEG, PNG, WebP, BMP) and say how good they are, why, and what would help.

    Nothing of it is kept. Requests that come together are scored together.
    """
    content = picture.file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        most = MAX_FILE_BYTES // 2**20
        raise ApiError(413, "too_large", f"a picture of more than {most} MiB", "make it smaller")
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
