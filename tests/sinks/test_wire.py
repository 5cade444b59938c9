"""The wire format: what goes in comes out, newer minors are read, everything else is refused before it costs."""

from __future__ import annotations

import contextlib

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facegate.errors import DeliveryError
from facegate.pipeline.records import Detection, Face, FrameRef, QualityInfo, Reason, ScoredFace, Shot
from facegate.sinks import wire


def make_shot(number: int = 0) -> Shot:
    rng = np.random.default_rng(number)
    crop = cv2.GaussianBlur(rng.integers(0, 256, (112, 112, 3)).astype(np.uint8), (0, 0), 4)
    ref = FrameRef("door", number, 1.5, 2.5, None, 640, 480)
    face = Face(f"{number}-0", ref, Detection((1.0, 2.0, 60.0, 80.0), 0.9, np.ones((5, 2), np.float32)), crop)
    scored = ScoredFace(face, 7, 88, 0.5, np.zeros(4, np.float32), None)
    info = QualityInfo("vitnt", "model", "v1")
    return Shot(f"{number:032x}", "run", "door", 7, 1, Reason.TRACK_ENDED, scored, info)


def test_a_shot_survives_the_wire() -> None:
    shot = make_shot()
    header_bytes, payload = wire.pack_shot(shot)
    header = wire.decode_header(header_bytes)
    assert (header.shot_id, header.camera, header.track_id, header.quality.value) == (shot.shot_id, "door", 7, 88)
    assert (header.box, header.frame_size, header.reason) == ((1.0, 2.0, 60.0, 80.0), (640, 480), "track_ended")
    difference = wire.unpack_crop(header, payload).astype(int) - shot.crop
    assert np.abs(difference).mean() < 3


def test_a_raw_crop_is_read_too() -> None:
    shot = make_shot()
    header = msgspec.structs.replace(wire.decode_header(wire.pack_shot(shot)[0]), crop_encoding="rgb24")
    np.testing.assert_array_equal(wire.unpack_crop(header, shot.crop.tobytes()), shot.crop)
    with pytest.raises(DeliveryError, match="wrong length"):
        wire.unpack_crop(header, b"short")


def test_a_newer_minor_version_with_more_fields_is_read_and_another_major_refused() -> None:
    fields = msgspec.msgpack.decode(wire.pack_shot(make_shot())[0])
    fields |= {"version": [1, 9], "from_the_future": {"a": 1}}
    assert wire.decode_header(msgspec.msgpack.encode(fields)).version == (1, 9)
    fields["version"] = [2, 0]
    with pytest.raises(DeliveryError, match="wire version 2"):
        wire.decode_header(msgspec.msgpack.encode(fields))


def test_a_crop_of_another_size_is_refused_by_its_header_alone() -> None:
    header = wire.decode_header(wire.pack_shot(make_shot())[0])
    _, encoded = cv2.imencode(".jpg", np.zeros((4000, 4000, 3), np.uint8))
    with pytest.raises(DeliveryError, match="not a 112x112 JPEG"):
        wire.unpack_crop(header, encoded.tobytes())
    with pytest.raises(DeliveryError, match="at most"):
        wire.unpack_crop(header, bytes(wire.MAX_CROP_BYTES + 1))


@given(st.binary(max_size=300))
def test_garbage_is_refused_with_a_typed_error(data: bytes) -> None:
    header = wire.decode_header(wire.pack_shot(make_shot())[0])
    for read in (
        wire.decode_header,
        lambda body: wire.decode(body, wire.Ready),
        lambda body: wire.decode(body, wire.Ack),
    ):
        with contextlib.suppress(DeliveryError):
            read(data)
    with pytest.raises(DeliveryError):
        wire.unpack_crop(header, data)


@given(position=st.integers(0, 2000), value=st.integers(0, 255))
def test_a_flipped_byte_gives_a_picture_or_a_typed_error(position: int, value: int) -> None:
    header_bytes, payload = wire.pack_shot(make_shot())
    damaged = bytearray(payload)
    damaged[position % len(damaged)] = value
    try:
        crop = wire.unpack_crop(wire.decode_header(header_bytes), bytes(damaged))
    except DeliveryError:
        return
    assert crop.shape == (112, 112, 3)
