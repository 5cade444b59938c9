"""People before a camera for a while: clips of photographs that sway, and what a worker tells of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from time import monotonic
from typing import Any

import av
import cv2
import numpy as np
from paho.mqtt.client import MQTTMessage

from ..sinks.test_mqtt import Broker, listening

FPS = 10
SIZE = (640, 360)


def write_clip(photo: Path, out: Path, in_view: Sequence[tuple[float, float]], seconds: float) -> Path:
    """Write a clip in which a photograph sways during ``in_view`` (from, to; seconds) and is gone otherwise."""
    face = cv2.imread(str(photo))
    assert face is not None
    face = cv2.resize(face, (300, 300 * face.shape[0] // face.shape[1]))[: SIZE[1]]
    noise = np.random.default_rng(0)
    with av.open(str(out), "w") as writer:
        stream: Any = writer.add_stream("libx264", rate=FPS, options={"g": "20", "bf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(round(seconds * FPS)):
            frame, at = np.full((SIZE[1], SIZE[0], 3), 96, np.uint8), number / FPS
            if any(start <= at < end for start, end in in_view):
                left = 150 + round(12 * math.sin(at * 0.8))
                frame[: face.shape[0], left : left + face.shape[1]] = face
            frame = np.clip(frame.astype(int) + noise.integers(-3, 4, frame.shape), 0, 255).astype(np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")):
                writer.mux(packet)
        for packet in stream.encode():
            writer.mux(packet)
    return out


class Heard:
    """What a broker has told, each with the monotonic time at which it came."""

    def __init__(self) -> None:
        self.messages: list[tuple[float, str, bytes]] = []

    def of(self, end: str) -> list[tuple[float, bytes]]:
        """Messages on the topic that ends so."""
        return [(at, payload) for at, topic, payload in self.messages if topic.endswith(end)]

    def last(self, end: str) -> bytes | None:
        """The newest of them."""
        found = self.of(end)
        return found[-1][1] if found else None


@contextmanager
def heard(broker: Broker) -> Iterator[Heard]:
    """Listen to a broker."""
    told, going = Heard(), [True]

    def listen(queue: Queue[MQTTMessage]) -> None:
        while going:
            try:
                message = queue.get(timeout=0.2)
            except Empty:
                continue
            told.messages.append((monotonic(), message.topic, message.payload))

    with listening(broker, "site/#") as queue:
        thread = Thread(target=listen, args=(queue,))
        thread.start()
        try:
            yield told
        finally:
            going.clear()
            thread.join()
