"""Live view: the latest frame and faces of each camera; pictures are encoded on request only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic

from facegate.pipeline.control.messages import LiveCamera, LiveFace, LiveRequest
from facegate.pipeline.images import encode_jpeg, shrink_to
from facegate.pipeline.quality.explain import reasons_of
from facegate.pipeline.records import Box, FrameRef, Image, ScoredFace, ScoredFrame, SkippedFace

SMALLEST, LARGEST = 64, 3840
STALE_S = 1.5
"""Seconds of media time by which faces may be older than the picture and are still shown."""


class LiveView:
    """Keeps the faces of each camera's last frame and answers live requests."""

    def __init__(self) -> None:
        self._shown: Callable[[str], tuple[FrameRef, Image] | None] = lambda camera: None
        self._people: Callable[[str], Mapping[int, int]] = lambda camera: {}
        self._model = ""
        self._faces: dict[str, ScoredFrame] = {}

    def attach(
        self,
        shown: Callable[[str], tuple[FrameRef, Image] | None],
        people: Callable[[str], Mapping[int, int]],
        model: str,
    ) -> None:
        """Connect to a run.

        Args:
            shown: returns the last frame of a camera, masked; ``None`` if there is none.
            people: returns, for each of the tracker's tracks of a camera, the id under which it is decided.
            model: name of the quality model.
        """
        self._model = model
        self._shown = shown
        self._people = people

    def on_frame(self, frame: ScoredFrame) -> None:
        """Take a scored frame; called from the gate's thread."""
        self._faces[frame.frame.camera] = frame

    def reply(self, ask: LiveRequest) -> tuple[LiveCamera, ...]:
        """Return the live view of the requested cameras."""
        found = []
        for camera, have in ask.have.items():
            shown = self._shown(camera)
            if shown is not None:
                found.append(self._camera(camera, *shown, have, ask))
        return tuple(found)

    def _camera(self, camera: str, ref: FrameRef, image: Image, have: int, ask: LiveRequest) -> LiveCamera:
        faces = self._faces.get(camera)
        jpeg = None
        if ref.seq != have:
            side = min(max(ask.longer_side, SMALLEST), LARGEST)
            jpeg = encode_jpeg(shrink_to(image, side)[0], min(max(ask.jpeg_quality, 1), 95))
        present = faces is not None and abs(ref.pts_s - faces.frame.pts_s) < STALE_S
        return LiveCamera(
            camera=camera,
            seq=ref.seq,
            age_s=round(monotonic() - ref.received_s + ref.behind_s, 3),
            width=ref.width,
            height=ref.height,
            faces=self._present(camera, faces) if faces is not None and present else (),
            jpeg=jpeg,
        )

    def _present(self, camera: str, frame: ScoredFrame) -> tuple[LiveFace, ...]:
        people = self._people(camera)
        size = max(frame.frame.width, 1), max(frame.frame.height, 1)
        faces: list[ScoredFace | SkippedFace] = [*frame.faces, *frame.skipped]
        return tuple(
            LiveFace(
                track_id=people.get(face.track_id, face.track_id),
                box=_fractions(face.face.detection.box, size),
                quality=face.quality if isinstance(face, ScoredFace) else None,
                advice=self._advice(face) if isinstance(face, ScoredFace) else "",
            )
            for face in faces
        )

    def _advice(self, face: ScoredFace) -> str:
        advice = reasons_of(face, self._model).advice
        return "" if advice is None or advice.defect is None else advice.text


def _fractions(box: Box, size: tuple[int, int]) -> Box:
    x1, y1, x2, y2 = box
    return (round(x1 / size[0], 4), round(y1 / size[1], 4), round(x2 / size[0], 4), round(y2 / size[1], 4))
