"""The pictures on which models and recognizers are compared: LFW, its degraded copies, web faces and clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.detectors.align import align
from facegate.detectors.base import Detector, load_detector
from facegate.evaluation.cameras import encode_h264, infrared
from facegate.evaluation.datasets import FaceSet, load_set
from facegate.evaluation.degrade import degrade_half
from facegate.pipeline.images import read_image
from facegate.pipeline.records import Image, contiguous
from facegate.scoring.backend_selection import cache_folder

FACE_SHARE = 77 / 112
"""Width of a face as detectors frame it, as a share of its crop."""
FRAMES_PER_CLIP = 40
CLIPS = {
    "0188_03_021_al_pacino.avi": "Al_Pacino",
    "0294_02_004_angelina_jolie.avi": "Angelina_Jolie",
    "0490_03_007_bill_gates.avi": "Bill_Gates",
    "1804_03_006_sylvester_stallone.avi": "Sylvester_Stallone",
    "1192_01_006_julia_roberts.avi": "Julia_Roberts",
    "1034_03_006_jet_li.avi": "Jet_Li",
    "default.wmv": "P4",
    "changeLighting.wmv": "P4",
    "asl_again.mkv": "S1",
    "asl_brother.mkv": "S1",
    "asl_bird.mkv": "S2",
    "asl_milk.mkv": "S2",
    "asl_book.mkv": "S3",
    "asl_learn.mkv": "S3",
    "asl_eat.mkv": "S4",
    "asl_night.mkv": "S4",
    "asl_hungry.mkv": "S5",
    "asl_want.mkv": "S5",
}
PHOTOS = ("Al_Pacino", "Angelina_Jolie", "Bill_Gates", "Sylvester_Stallone")
Crops = NDArray[np.uint8]
Copy = Callable[[Crops], Crops]


class Pictures(msgspec.Struct, frozen=True, eq=False):
    """Pictures to compare with each other."""

    name: str
    faces: FaceSet
    fmr: float = 1e-3
    sources: list[str] | None = None
    """Clip or photograph of each; mated pictures of one source are not compared."""


def _each(change: Callable[[Image, int], Image]) -> Copy:
    return lambda crops: np.stack([change(crop, row) for row, crop in enumerate(crops)])


def at_width(width: int) -> Copy:
    """Crops with the resolution of faces ``width`` pixels wide."""
    side = round(width / FACE_SHARE)

    def shrink(crop: Image, row: int) -> Image:
        del row
        small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
        return contiguous(cv2.resize(small, crop.shape[1::-1]))

    return _each(shrink)


def at_qp(qp: int) -> Copy:
    """Crops from an H.264 stream with this quantizer, moving."""

    def encode(crop: Image, row: int) -> Image:
        right, down = (float(value) for value in np.random.default_rng((qp, row)).normal(0, 0.8, 2))
        return encode_h264(crop, qp, (right, down))

    return _each(encode)


def as_jpeg(quality: int) -> Copy:
    """Crops encoded as JPEG."""

    def encode(crop: Image, row: int) -> Image:
        del row
        content = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        decoded = cv2.imdecode(content, cv2.IMREAD_COLOR)
        assert decoded is not None
        return contiguous(decoded)

    return _each(encode)


def _gray(crop: Image, row: int) -> Image:
    del row
    return contiguous(cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


COPIES: dict[str, Copy] = {
    "clean": lambda crops: crops,
    "half degraded": lambda crops: degrade_half(crops, 0),
    "32 px wide": at_width(32),
    "H.264 QP 38": at_qp(38),
    "24 px wide": at_width(24),
    "48 px wide": at_width(48),
    "64 px wide": at_width(64),
    "infrared": _each(lambda crop, row: infrared(crop, 0.5, np.random.default_rng((1, row)))),
    "H.264 QP 32": at_qp(32),
    "JPEG quality 20": as_jpeg(20),
    "gray": _each(_gray),
    "mirrored": lambda crops: np.ascontiguousarray(crops[:, :, ::-1]),
}
"""Copies of a set, by condition."""
JUDGED_COPIES = ("half degraded", "24 px wide", "32 px wide", "48 px wide", "H.264 QP 38", "infrared")


def lfw(data: Path) -> FaceSet:
    """The 3,074 pictures of LFW folds 1-4, aligned with YuNet."""
    return load_set(data / "faces" / "lfw-folds-1-4.zip", yunet(data), cache_folder())


def yunet(data: Path) -> Detector:
    """The detector that aligns."""
    return load_detector("yunet", data / "models" / "yunet_n_640_640.onnx")


def judged(data: Path, only: list[str] | None = None) -> list[Pictures]:
    """All sets on which quality is judged, or those named."""
    people = lfw(data)
    web = load_set(data / "faces" / "web112.zip", yunet(data), cache_folder())
    makers: dict[str, Callable[[], Pictures]] = {
        "LFW": lambda: Pictures("LFW", people),
        "LFW at FMR 1e-4": lambda: Pictures("LFW at FMR 1e-4", people, 1e-4),
        **{
            f"LFW {copy}": (lambda copy=copy: Pictures(f"LFW {copy}", changed(people, copy)))  # type: ignore[misc]
            for copy in JUDGED_COPIES
        },
        "web": lambda: Pictures("web", web),
        "web half degraded": lambda: Pictures("web half degraded", changed(web, "half degraded")),
        "clips": lambda: clips(data),
    }
    return [make() for name, make in makers.items() if only is None or name in only]


def changed(faces: FaceSet, copy: str) -> FaceSet:
    """The copy of a set in a condition, cached."""
    file = cache_folder() / "judging" / f"crops-{copy.replace(' ', '-')}-{faces.digest}.npy"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, COPIES[copy](faces.crops))
    return faces.with_crops(np.load(file))


def clips(data: Path) -> Pictures:
    """The largest face of frames of clips with one person each, and the photographs of four of these people."""
    detector = yunet(data)
    files: list[str] = []
    sources: list[str] = []
    crops: list[Image] = []

    def add(image: Image, person: str, source: str) -> None:
        found = detector.detect([image])[0]
        if found:
            files.append(f"{person}/{source}-{len(files)}")
            crops.append(align(image, max(found, key=lambda face: face.width).landmarks))
            sources.append(source)

    for clip, person in CLIPS.items():
        with av.open(str(data / "clips" / clip)) as container:
            frames = list(container.decode(video=0))
        for frame in frames[:: max(1, len(frames) // FRAMES_PER_CLIP)]:
            add(contiguous(frame.to_ndarray(format="rgb24")), person, clip)
    for person in PHOTOS:
        for photo in sorted((data / "photos" / person).iterdir()):
            add(read_image(photo), person, photo.name)
    nothing = np.full(len(files), np.nan)
    return Pictures("clips", FaceSet(files, np.stack(crops), nothing, nothing), sources=sources)
