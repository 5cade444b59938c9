"""Encrypted delivery: known workers get shots, others get nothing and cost one line a minute."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest
import zmq
from structlog.testing import capture_logs

from facegate.errors import ConfigError, DeliveryError
from facegate.sinks import wire
from facegate.sinks.keys import GATE, KeyFile, load_key, new_worker, revoke, workers
from facegate.sinks.zeromq import ZmqSink

from ..helpers import PATIENCE_S, facegate
from .test_wire import entries


def peer(context: zmq.Context[zmq.Socket[bytes]], endpoint: str, key: KeyFile | None) -> zmq.Socket[bytes]:
    made = context.socket(zmq.DEALER)
    made.setsockopt(zmq.LINGER, 0)
    made.setsockopt(zmq.RECONNECT_IVL, 20)
    if key is not None:
        made.curve_publickey, made.curve_secretkey = key.public.encode(), key.secret.encode()
        made.curve_serverkey = key.gate.encode()
    made.connect(endpoint)
    made.send_multipart([wire.READY, wire.encode(wire.Ready(4))])
    return made


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    new_worker(tmp_path / "keys", "one", tmp_path / "one.json")
    return tmp_path / "keys"


def test_a_known_worker_gets_shots_and_others_get_nothing_and_one_line_each(keys: Path, tmp_path: Path) -> None:
    known = load_key(tmp_path / "one.json", secret=True, gate=True)
    new_worker(tmp_path / "other", "stranger", tmp_path / "stranger.json")
    foreign = load_key(tmp_path / "stranger.json", secret=True, gate=True)
    stranger = KeyFile(public=foreign.public, secret=foreign.secret, gate=known.gate)
    with capture_logs() as logs:
        sink = ZmqSink("tcp://127.0.0.1:*", keys=keys)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            sink.put(entries(1))
            wrong = peer(context, sink.endpoint, stranger)
            none = peer(context, sink.endpoint, None)
            with socket.create_connection(("127.0.0.1", int(sink.endpoint.rsplit(":", 1)[1]))) as noise:
                noise.sendall(b"GET / HTTP/1.1\r\n\r\n" * 50)
                assert not wrong.poll(700) and not none.poll(100)
            good = peer(context, sink.endpoint, known)
            assert good.poll(1000 * PATIENCE_S)
            kind, header, _ = good.recv_multipart()
            assert kind == wire.SHOT
            good.send_multipart([wire.ACK, wire.encode(wire.Ack(wire.decode_header(header).shot_id, 1.0))])
        finally:
            report = sink.close(PATIENCE_S)
            context.destroy(linger=0)
    assert report.acknowledged == 1
    refused = [entry for entry in logs if entry["event"] == "peer refused"]
    assert sorted(entry["peer"] for entry in refused) == sorted(["unknown", stranger.public[:8]])
    assert all(known.secret not in str(entry) and stranger.secret not in str(entry) for entry in logs)


def test_a_revoked_worker_is_out_at_its_next_connection(keys: Path, tmp_path: Path) -> None:
    known = load_key(tmp_path / "one.json", secret=True, gate=True)
    sink = ZmqSink("tcp://127.0.0.1:*", keys=keys)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        revoke(keys, "one")
        sink.put(entries(1))
        assert not peer(context, sink.endpoint, known).poll(700)
    finally:
        sink.abort()
        sink.close(0.0)
        context.destroy(linger=0)
    assert workers(keys) == []


@pytest.mark.parametrize("endpoint", ["tcp://0.0.0.0:*", "tcp://*:*", "tcp://[::]:*"])
def test_beyond_this_host_without_keys_is_refused_unless_said(endpoint: str) -> None:
    with pytest.raises(DeliveryError, match="facegate keys new"):
        ZmqSink(endpoint)
    if "[" not in endpoint:
        sink = ZmqSink(endpoint, allow_insecure=True)
        sink.abort()
        sink.close(0.0)


def test_key_files_are_private_and_never_overwritten(keys: Path, tmp_path: Path) -> None:
    for file in (tmp_path / "one.json", keys / GATE):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_key(keys / "workers" / "one.json", secret=False).secret == ""
    with pytest.raises(ConfigError, match="already"):
        new_worker(keys, "one", tmp_path / "again.json")
    with pytest.raises(ConfigError, match="file exists"):
        new_worker(keys, "two", tmp_path / "one.json")
    assert workers(keys) == ["one"] and not (tmp_path / "again.json").exists()
    with pytest.raises(ConfigError, match="invalid worker name"):
        new_worker(keys, "../up", tmp_path / "up.json")
    with pytest.raises(ConfigError, match="known are one"):
        revoke(keys, "two")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"public":"short"}',
        b'{"public":"' + b"x" * 5000 + b'"}',
        b"\xff\xfe",
        b'{"public":"\xff\xfe"}',
    ],
)
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key.json").write_bytes(content)
    with pytest.raises(ConfigError, match="is not a key file"):
        load_key(tmp_path / "key.json", secret=True)


def test_the_command_line_makes_lists_and_revokes(tmp_path: Path) -> None:
    made = facegate("keys", "new", "lobby", cwd=tmp_path)
    assert made.returncode == 0 and "copy it to the worker" in made.stderr
    assert (tmp_path / "lobby.key.json").is_file()
    assert facegate("keys", "list", cwd=tmp_path).stdout == "lobby\n"
    assert facegate("keys", "revoke", "lobby", cwd=tmp_path).returncode == 0
    gone = facegate("keys", "revoke", "lobby", cwd=tmp_path)
    assert gone.returncode == 2 and "no worker 'lobby'" in gone.stderr
