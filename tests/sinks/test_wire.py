"""The wire format: what goes in comes out, newer minors are read, everything else is refused before it costs."""

from __future__ import annotations

import contextlib
from time import monotonic, time

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facegate.errors import DeliveryError
from facegate.pipeline.records import Detection, Face, FrameRef, QualityInfo, Reason, ScoredFace, Shot
from facegate.sinks import wire

from ..helpers import ROOT


def make_shot(number: int = 0) -> Shot:
    rng = np.random.default_rng(number)
    crop = cv2.GaussianBlur(rng.integers(0, 256, (112, 112, 3)).astype(np.uint8), (0, 0), 4)
    ref = FrameRef("door", number, 1.5, 2.5, None, 640, 480)
    face = Face(f"{number}-0", ref, Detection((1.0, 2.0, 60.0, 80.0), 0.9, np.ones((5, 2), np.float32)), crop)
    scored = ScoredFace(face, 7, 88, 0.5, np.zeros(4, np.float32), None)
    info = QualityInfo("vitnt", "model", "v1")
    return Shot(f"{number:032x}", "run", "door", 7, 1, Reason.TRACK_ENDED, scored, info)


def entries(*numbers: int) -> list[wire.EncodedShot]:
    return [wire.pack(make_shot(number)) for number in numbers]


def with_picture(number: int) -> wire.EncodedShot:
    shot = make_shot(number)
    picture = cv2.resize(shot.crop, (160, 90))
    face = msgspec.structs.replace(shot.scored.face, context=picture)
    scored = msgspec.structs.replace(shot.scored, face=face, embedding=np.ones(8, np.float32))
    return wire.pack(msgspec.structs.replace(shot, scored=scored), embedding=True)


def test_a_shot_survives_the_wire() -> None:
    shot = make_shot()
    entry = wire.pack(shot)
    header = wire.decode_header(entry.header)
    assert (header.shot_id, header.camera, header.track_id, header.quality.value) == (shot.shot_id, "door", 7, 88)
    assert (header.box, header.frame_size, header.reason) == ((1.0, 2.0, 60.0, 80.0), (640, 480), "track_ended")
    difference = wire.unpack_crop(header, entry.crop).astype(int) - shot.crop
    assert np.abs(difference).mean() < 3


def test_the_whole_picture_and_the_template_travel_where_they_are_asked_for() -> None:
    plain = make_shot()
    picture = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (90, 160, 3)).astype(np.uint8), (0, 0), 4)
    values = np.arange(1, 513, dtype=np.float32)
    face = msgspec.structs.replace(plain.scored.face, context=picture)
    scored = msgspec.structs.replace(plain.scored, face=face, embedding=values)
    entry = wire.pack(msgspec.structs.replace(plain, scored=scored), embedding=True)
    header = wire.decode_header(entry.header)
    assert header.context_size == (160, 90) and header.embedding is not None and header.embedding.model == "model"
    received = np.frombuffer(header.embedding.values, "<f4")
    np.testing.assert_allclose(received, values / np.linalg.norm(values), rtol=1e-6)
    assert np.abs(wire.unpack_context(header, entry.context).astype(int) - picture).mean() < 5
    without = wire.pack(plain)
    assert wire.decode_header(without.header).embedding is None and without.pictures == [without.crop]
    with pytest.raises(DeliveryError, match="has no context picture"):
        wire.unpack_context(wire.decode_header(without.header), b"")
    with pytest.raises(DeliveryError, match="not a 160x90 JPEG"):
        wire.unpack_context(header, entry.crop)
    vast = msgspec.structs.replace(header, context_size=(60_000, 60_000))
    with pytest.raises(DeliveryError, match="at most 1280"):
        wire.unpack_context(vast, entry.context)


def test_a_picture_that_would_be_too_large_is_made_coarser() -> None:
    shot = make_shot()
    noise = np.random.default_rng(0).integers(0, 256, (1280, 1280, 3)).astype(np.uint8)
    face = msgspec.structs.replace(shot.scored.face, context=noise)
    entry = wire.pack(msgspec.structs.replace(shot, scored=msgspec.structs.replace(shot.scored, face=face)))
    assert 0 < len(entry.context) <= wire.MAX_CONTEXT_BYTES
    assert wire.unpack_context(wire.decode_header(entry.header), entry.context).shape == noise.shape


def test_a_header_of_version_1_0_is_read() -> None:
    fields = msgspec.msgpack.decode(wire.pack(make_shot()).header)
    for name in ("received_at", "context_size", "embedding"):
        del fields[name]
    del fields["quality"]["version"]
    header = wire.decode_header(msgspec.msgpack.encode(fields | {"version": [1, 0]}))
    assert header.received_at is None and header.quality.version == ""


def test_when_a_frame_came_is_told_by_the_wall_clock() -> None:
    shot = make_shot()
    ref = msgspec.structs.replace(shot.scored.face.frame, received_s=monotonic() - 5)
    face = msgspec.structs.replace(shot.scored.face, frame=ref)
    packed = wire.pack(msgspec.structs.replace(shot, scored=msgspec.structs.replace(shot.scored, face=face)))
    assert wire.decode_header(packed.header).received_at == pytest.approx(time() - 5, abs=0.5)


def test_the_documentation_knows_every_field_and_its_example_is_a_header() -> None:
    text = (ROOT / "docs" / "reference" / "wire.md").read_text()
    example = msgspec.json.decode(text.split("```json\n")[1].split("```")[0], type=wire.ShotHeader)
    assert example.version == wire.VERSION and example.embedding is not None
    for field in (*msgspec.structs.fields(wire.ShotHeader), *msgspec.structs.fields(wire.QualityBlock)):
        assert f"`{field.name}`" in text


def test_a_raw_crop_is_read_too() -> None:
    shot = make_shot()
    header = msgspec.structs.replace(wire.decode_header(wire.pack(shot).header), crop_encoding="rgb24")
    np.testing.assert_array_equal(wire.unpack_crop(header, shot.crop.tobytes()), shot.crop)
    with pytest.raises(DeliveryError, match="wrong length"):
        wire.unpack_crop(header, b"short")


def test_a_newer_minor_version_with_more_fields_is_read_and_another_major_refused() -> None:
    fields = msgspec.msgpack.decode(wire.pack(make_shot()).header)
    fields |= {"version": [1, 9], "from_the_future": {"a": 1}}
    assert wire.decode_header(msgspec.msgpack.encode(fields)).version == (1, 9)
    fields["version"] = [2, 0]
    with pytest.raises(DeliveryError, match="wire version 2"):
        wire.decode_header(msgspec.msgpack.encode(fields))


def test_a_crop_of_another_size_is_refused_by_its_header_alone() -> None:
    header = wire.decode_header(wire.pack(make_shot()).header)
    _, encoded = cv2.imencode(".jpg", np.zeros((4000, 4000, 3), np.uint8))
    with pytest.raises(DeliveryError, match="not a 112x112 JPEG"):
        wire.unpack_crop(header, encoded.tobytes())
    with pytest.raises(DeliveryError, match="at most"):
        wire.unpack_crop(header, bytes(wire.MAX_CROP_BYTES + 1))


@given(st.binary(max_size=300))
def test_garbage_is_refused_with_a_typed_error(data: bytes) -> None:
    header = wire.decode_header(wire.pack(make_shot()).header)
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
    entry = wire.pack(make_shot())
    damaged = bytearray(entry.crop)
    damaged[position % len(damaged)] = value
    try:
        crop = wire.unpack_crop(wire.decode_header(entry.header), bytes(damaged))
    except DeliveryError:
        return
    assert crop.shape == (112, 112, 3)
