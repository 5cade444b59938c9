"""Two real clips spliced at the same face position: the guard tells the people apart, and no shot mixes them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from facegate.detectors.align import align
from facegate.detectors.base import Detector
from facegate.pipeline.config import DetectorConfig, config_for
from facegate.pipeline.records import Detection, Face, FrameRef, Image, ScoredFace, ScoredFrame
from facegate.pipeline.runner import Runner
from facegate.pipeline.tracking.identity import IdentityThresholds
from facegate.pipeline.tracking.identity_switches import IdentitySwitchGuard
from facegate.pipeline.watch import ShotQueue
from facegate.scoring.engine import Scorer

CLIPS = (
    "0188_03_021_al_pacino.avi",
    "0490_03_007_bill_gates.avi",
    "0294_02_004_angelina_jolie.avi",
    "1804_03_006_sylvester_stallone.avi",
)


def pictures(path: Path, count: int) -> list[Image]:
    with av.open(str(path)) as container:
        return [
            frame.to_ndarray(format="rgb24")
            for _, frame in zip(range(count), container.decode(video=0), strict=False)
        ]


def centerd(images: list[Image], detector: Detector) -> list[Image]:
    """Every frame moved and scaled so that its face is 90 pixels wide in the middle."""
    found = []
    for image in images:
        faces = detector.detect([image])[0]
        if not faces:
            continue
        box = max(faces, key=lambda face: face.width).box
        scale = 90 / (box[2] - box[0])
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        matrix = np.array([[scale, 0, 160 - scale * x], [0, scale, 120 - scale * y]])
        found.append(cv2.warpAffine(image, matrix, (320, 240), borderMode=cv2.BORDER_REFLECT).astype(np.uint8))
    return found


@pytest.fixture(scope="module")
def people(data: Path, yunet: Detector) -> list[list[Image]]:
    return [centerd(pictures(data / "clips" / clip, 60), yunet)[:40] for clip in CLIPS]


@pytest.mark.parametrize("order", list(pairwise((*range(4), 0))))
def test_the_guard_splits_a_track_that_passes_to_another_person(
    people: list[list[Image]], yunet: Detector, scorer: Scorer, order: tuple[int, int]
) -> None:
    assert scorer.card.people is not None
    guard = IdentitySwitchGuard(IdentityThresholds(*scorer.card.people), reliable=10)
    given: dict[int, set[int]] = {}
    for who in order:
        for number, image in enumerate(people[who]):
            seq = len(people[order[0]]) * (who == order[1]) + number
            ref = FrameRef("cam", seq, seq / 25, seq / 25, None, 320, 240)
            faces = yunet.detect([image])[0]
            if not faces:
                continue
            face = max(faces, key=lambda item: item.width)
            crop = align(image, face.landmarks)
            out = scorer.score(crop[None])
            assert out.embedding is not None
            item = ScoredFace(
                Face(f"{seq}-0", ref, face, crop), 3, int(out.quality[0]), float(out.raw_score[0]), out.patches[0],
                out.embedding[0],
            )  # fmt: skip
            frame = guard.step(ScoredFrame(ref, (item,), ()))
            given.setdefault(who, set()).add(frame.faces[0].track_id)
    first, second = (given[who] for who in order)
    assert not first & second, "no id holds both people"
    assert len(first) == 1 and len(second) <= 2, "and nobody is split for nothing"


def test_no_shot_of_a_spliced_clip_belongs_to_the_wrong_half(
    people: list[list[Image]], data: Path, tmp_path: Path
) -> None:
    path = tmp_path / "spliced.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25, options={"qscale": "2"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuvj420p"
        for image in (*people[0], *people[1]):
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    config = config_for(path).model_copy(
        update={"detector": DetectorConfig(kind="yunet", path=data / "models" / "yunet_n_640_640.onnx")}
    )
    queue = ShotQueue()
    with Runner(config, lambda: queue, on_finished=queue.end) as runner:
        shots = list(queue)
        runner.close(linger_s=0)
    splice_s = len(people[0]) / 25
    tracks = {shot.track_id: shot.pts_s < splice_s - 0.02 for shot in shots}
    assert sorted(tracks.values()) == [False, True], "one best shot per person"


def test_who_is_still_there_after_a_long_silence_of_the_camera_is_a_new_visit() -> None:
    """The end of the track is reported with the first frame after the silence."""
    embedding = np.eye(1, 8, dtype=np.float32)[0]

    def frame(seq: int, pts_s: float, track: int | None, ended: tuple[int, ...] = ()) -> ScoredFrame:
        ref = FrameRef("cam", seq, pts_s, pts_s, None, 320, 240)
        detection = Detection((10.0, 10.0, 70.0, 90.0), 0.9, np.zeros((5, 2), np.float32))
        face = Face(f"{seq}-0", ref, detection, np.zeros((112, 112, 3), np.uint8))
        scored = ScoredFace(face, track or 0, 50, 0.5, np.zeros(1, np.float32), embedding)
        return ScoredFrame(frame=ref, faces=() if track is None else (scored,), ended=ended)

    for silence_s, same in ((2.0, True), (17.0, False)):
        guard = IdentitySwitchGuard(IdentityThresholds(0.2, 0.4), reliable=10, merge_s=3.0)
        before = guard.step(frame(0, 1.0, 0)).faces[0].track_id
        reported = guard.step(frame(1, 1.0 + silence_s, None, (0,)))
        after = guard.step(frame(2, 1.2 + silence_s, 1)).faces[0].track_id
        assert (before == after) is same
        assert reported.ended == (() if same else (before,))
