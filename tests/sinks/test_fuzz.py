"""Whatever comes over the wire or lies in a key file is taken or refused with a typed error; nothing crashes.

FACEGATE_FUZZ=100000 pytest -n 0 tests/sinks/test_fuzz.py      # hypothesis; a few hundred cases by default
python -m tests.sinks.test_fuzz -runs=1000000                  # coverage-guided: pip install atheris
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facegate.errors import ConfigError, DeliveryError
from facegate.sinks import jetstream, wire, worker_pool
from facegate.sinks.keys import load_key
from facegate.sinks.zeromq import ZmqSink

from ..helpers import PATIENCE_S
from .test_wire import entries, with_picture

CASES = int(os.environ.get("FACEGATE_FUZZ", "100"))
many = settings(max_examples=CASES, suppress_health_check=list(HealthCheck), database=None)


SHOT = with_picture(1)
HEADER, CROP, CONTEXT = SHOT.header, SHOT.crop, SHOT.context
MESSAGE = msgspec.msgpack.encode((msgspec.Raw(HEADER), *SHOT.pictures))
FIELDS: dict[str, Any] = msgspec.msgpack.decode(HEADER)
PLAIN = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=40)
    | st.binary(max_size=40)
)  # fmt: skip
TREE = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner))


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A message with some bytes replaced, cut out or added."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(data)


@st.composite
def changed_header(draw: st.DrawFn) -> bytes:
    """A header with fields of other types, missing, or never heard of."""
    fields = dict(FIELDS)
    for name in draw(st.lists(st.sampled_from([*FIELDS, "new"]), min_size=1, max_size=3)):
        fields[name] = draw(TREE)
    for name in draw(st.lists(st.sampled_from(list(fields)), max_size=1)):
        del fields[name]
    return msgspec.msgpack.encode(fields)


def receive(header: bytes, crop: bytes, context: bytes) -> None:
    """What a worker does with a message: refused with a typed error, or pictures of the right shape."""
    try:
        read = wire.decode_header(header)
        image = wire.unpack_crop(read, crop)
        assert image.shape == (112, 112, 3) and image.dtype.name == "uint8"
        whole = wire.unpack_context(read, context)
        assert read.context_size is not None and whole.shape == (*read.context_size[::-1], 3)
    except DeliveryError as error:
        assert str(error)


def take(message: bytes) -> None:
    """What a worker does with a message of a JetStream server."""
    try:
        header, crop = jetstream.unpack(message)
        wire.unpack_crop(header, crop)
    except DeliveryError as error:
        assert str(error)


@many
@given(st.binary(max_size=300) | damaged(HEADER) | changed_header(), st.binary(max_size=300) | damaged(CROP))
def test_any_shot_is_read_or_refused(header: bytes, crop: bytes) -> None:
    receive(header, CROP, CONTEXT)
    receive(HEADER, crop, CONTEXT)


@many
@given(st.binary(max_size=300) | damaged(CONTEXT), st.binary(max_size=300) | damaged(MESSAGE))
def test_any_picture_and_any_message_of_a_stream_is_read_or_refused(context: bytes, message: bytes) -> None:
    receive(HEADER, CROP, context)
    take(message)


@many
@given(st.binary(max_size=100) | TREE.map(msgspec.msgpack.encode))
def test_any_word_of_a_worker_is_read_or_refused(body: bytes) -> None:
    for kind in (wire.Ready, wire.Ack):
        try:
            wire.decode(body, kind)
        except DeliveryError as error:
            assert str(error)


@many
@given(st.binary(max_size=200) | st.dictionaries(st.sampled_from(["public", "secret", "gate"]), TREE))
def test_any_file_is_a_key_or_refused(tmp_path_factory: Any, content: bytes | dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "key.json"
    data = content if isinstance(content, bytes) else repr(content).replace("'", '"').encode()
    path.write_bytes(data)
    try:
        load_key(path, secret=True)
    except ConfigError as error:
        assert "key" in str(error)


def test_a_live_gate_outlives_any_message_and_serves_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "MAX_IDLE_MESSAGES", 10**9)  # or the peer would be blocked
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sink = ZmqSink("tcp://127.0.0.1:*")
    try:
        hostile, worker = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
        hostile.connect(sink.endpoint)
        worker.connect(sink.endpoint)

        @many
        @given(
            st.lists(st.sampled_from([b"READY", b"ACK", b"BYE", b"SHOT", b""]) | st.binary(max_size=64), min_size=1)
        )
        def shower(frames: list[bytes]) -> None:
            hostile.send_multipart(frames)

        shower()
        worker.send_multipart([wire.READY, wire.encode(wire.Ready(4))])
        hostile.close(linger=2000)
        sink.put(entries(*range(20)))
        seen = set()
        while len(seen) < 20:
            assert worker.poll(1000 * PATIENCE_S)
            shot_id = wire.decode_header(worker.recv_multipart()[1]).shot_id
            seen.add(shot_id)
            worker.send_multipart([wire.ACK, wire.encode(wire.Ack(shot_id, 0.0))])
        assert sink.close(PATIENCE_S).acknowledged == 20
    finally:
        sink.abort()
        context.destroy(linger=0)


def one(data: bytes) -> None:
    """A case of the coverage-guided run."""
    receive(data, CROP, CONTEXT)
    receive(HEADER, data, CONTEXT)
    receive(HEADER, CROP, data)
    take(data)
    for kind in (wire.Ready, wire.Ack):
        with contextlib.suppress(DeliveryError):
            wire.decode(data, kind)


def main() -> None:
    import atheris

    for function in (wire.decode, wire.decode_header, wire.unpack_crop, wire.unpack_context, wire._jpeg_size):
        setattr(wire, function.__name__, atheris.instrument_func(function))
    jetstream.unpack = atheris.instrument_func(jetstream.unpack)
    with tempfile.TemporaryDirectory() as corpus:
        for name, seed in (
            ("header", HEADER),
            ("crop", CROP),
            ("context", CONTEXT),
            ("message", MESSAGE),
            ("ready", wire.encode(wire.Ready(4))),
        ):
            (Path(corpus) / name).write_bytes(seed)
        atheris.Setup([*sys.argv, corpus], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
