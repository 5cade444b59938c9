"""A gate's control socket, as a console or a fleet uses it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import zmq

from facegate.console.processes.gate_client import GateClient, GateRefusedError, GateUnreachableError
from facegate.errors import ConfigError, DeliveryError
from facegate.pipeline.control.live import LiveView
from facegate.pipeline.control.messages import ErrorReply, LiveRequest, Reply
from facegate.pipeline.control.server import ControlServer
from facegate.pipeline.records import Detection, Face, FrameRef, Outcome, ScoredFace, ScoredFrame, SkippedFace
from facegate.pipeline.runtime.reload import ConfigDiff

from ...helpers import PATIENCE_S

REF = FrameRef("door", 7, 1.0, 0.0, None, 640, 360)
IMAGE = np.full((360, 640, 3), 90, np.uint8)


def live_view() -> LiveView:
    landmarks, crop = np.zeros((5, 2), np.float32), np.zeros((112, 112, 3), np.uint8)
    faces = [Face(f"7-{i}", REF, Detection((64.0 * i, 36, 128, 72), 1, landmarks), crop) for i in range(2)]
    view = LiveView()
    view.attach(lambda camera: (REF, IMAGE) if camera == "door" else None, lambda camera: {3: 30}, "some-model")
    view.on_frame(
        ScoredFrame(
            REF,
            (ScoredFace(faces[0], 3, 55, 0.5, np.zeros(64, np.float32), None),),
            (),
            skipped=(SkippedFace(faces[1], 4, Outcome.NOT_NEEDED),),
        )
    )
    return view


def control(endpoint: str, reload: Callable[[], ConfigDiff] = lambda: ConfigDiff((), (), (), ())) -> ControlServer:
    return ControlServer(endpoint, run_id="run", report=lambda: b"{}", reload=reload, live=live_view())


def test_pictures_are_made_for_what_is_asked_and_not_twice(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/gate"
    with (
        ControlServer(
            endpoint,
            run_id="run",
            report=lambda: b"{}",
            reload=lambda: ConfigDiff((), (), (), ()),
            live=live_view(),
        ),
        GateClient(endpoint) as client,
    ):
        (shown,) = client.live({"door": -1, "hall": -1}, 320).cameras
        assert (shown.camera, shown.seq, shown.width, shown.height) == ("door", 7, 640, 360)
        assert shown.jpeg is not None
        image = cv2.imdecode(np.frombuffer(shown.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None and image.shape == (180, 320, 3) and abs(int(image.mean()) - 90) < 3
        assert [(face.track_id, face.quality) for face in shown.faces] == [(30, 55), (4, None)]
        assert shown.faces[0].box == (0.0, 0.1, 0.2, 0.2)
        (again,) = client.live({"door": 7}, 320).cameras
        assert again.jpeg is None and again.faces == shown.faces
        assert client.report() == b"{}"


def test_a_reload_is_answered_and_refusals_are_told(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/gate"
    answers = [ConfigDiff(("a",), (), (), ("scorer",)), ConfigError("cameras[0].source: no")]

    def reload() -> ConfigDiff:
        answer = answers.pop(0)
        if isinstance(answer, ConfigError):
            raise answer
        return answer

    with (
        control(endpoint, reload),
        GateClient(endpoint) as client,
    ):
        done = client.reload()
        assert (done.added, done.ignored) == (("a",), ("scorer",))
        with pytest.raises(GateRefusedError, match="source: no"):
            client.reload()
        assert client.live({"door": -1}, 64).cameras


def test_nonsense_is_refused_and_harms_nobody(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/gate"
    with (
        ControlServer(
            endpoint,
            run_id="run",
            report=lambda: b"{}",
            reload=lambda: ConfigDiff((), (), (), ()),
            live=live_view(),
        ),
        GateClient(endpoint) as client,
        zmq.Context() as context,
        context.socket(zmq.REQ) as socket,
    ):
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoint)
        many = msgspec.msgpack.encode(LiveRequest({f"c{n}": -1 for n in range(300)}))
        for body in (b"", b"\xc1", b"x" * 1000, msgspec.msgpack.encode({"type": "erase"}), many):
            socket.send(body)
            assert socket.poll(1000 * PATIENCE_S)
            assert isinstance(msgspec.msgpack.decode(socket.recv(), type=Reply), ErrorReply)
        assert client.live({"door": -1}, 10**9, 10**9).cameras[0].jpeg


def test_only_a_file_of_ones_own_is_a_place_for_it(tmp_path: Path) -> None:
    for endpoint in ("tcp://127.0.0.1:5999", f"ipc://{tmp_path}/missing/gate"):
        with pytest.raises(DeliveryError):
            control(endpoint)
    with GateClient(f"ipc://{tmp_path}/nobody") as client, pytest.raises(GateUnreachableError):
        client.report()
