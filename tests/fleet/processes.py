"""A NATS cluster, gates of a fleet and what they send, as real processes on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

import msgspec
import nats
from nats.js.api import ConsumerConfig

from facegate.demo.rtsp.session import Viewing
from facegate.errors import FleetError
from facegate.fleet import admin
from facegate.fleet.bucket import parse
from facegate.sinks.wire import ShotHeader

from ..helpers import PATIENCE_S, ROOT, free_port

PROGRAM = Path(sys.executable).parent / "nats-server"


class NatsServer:
    """One server with JetStream."""

    def __init__(self, folder: Path, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._command = [str(PROGRAM), "-a", "127.0.0.1", "-p", str(self.port), *options]
        if folder is not None:
            self._command += ["-js", "-sd", str(folder)]
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stderr=subprocess.PIPE)
        assert self.process.stderr is not None
        next(line for line in self.process.stderr if b"Server is ready" in line)
        stream = self.process.stderr
        Thread(target=lambda: [None for _ in stream], daemon=True).start()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def cluster(folder: Path, count: int = 3) -> list[NatsServer]:
    """Servers that form a cluster when started; clients are not told of the others."""
    routes = [free_port() for _ in range(count)]
    known = ",".join(f"nats://127.0.0.1:{port}" for port in routes)
    return [
        NatsServer(
            folder / f"nats{index}",
            "--name",
            f"n{index}",
            "--cluster_name",
            "fleet",
            "--no_advertise",
            "--cluster",
            f"nats://127.0.0.1:{port}",
            "--routes",
            known,
        )
        for index, port in enumerate(routes)
    ]


class GateProcess:
    """``facegate run --fleet`` with a folder and a log of its own."""

    def __init__(self, name: str, fleet: str, folder: Path, *options: object) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        self._command = [
            sys.executable, "-m", "facegate", "--log-json", "run", "--fleet", fleet, "--gate", name,
            "--data", str(folder / name), *map(str, options),
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes]

    def start(self, **environment: str) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=os.environ | environment, cwd=ROOT
            )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """Ctrl-C."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def told(self, event: str) -> list[dict[str, Any]]:
        """What it has logged of one kind."""
        lines = self.log.read_bytes().splitlines() if self.log.exists() else []
        found = []
        for line in lines:
            with contextlib.suppress(json.JSONDecodeError):
                said = json.loads(line)
                if isinstance(said, dict) and said.get("event") == event:
                    found.append(said)
        return found


class Shots:
    """Takes every shot from the stream and remembers its header."""

    def __init__(self, url: str) -> None:
        self.headers: dict[str, ShotHeader] = {}
        self.copies = 0
        self._url = url
        self._stop = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        async def quiet(error: Exception) -> None: ...

        while not self._stop.is_set():
            with contextlib.suppress(Exception):
                client = await nats.connect(
                    self._url.split(","), error_cb=quiet, allow_reconnect=False, connect_timeout=2
                )
                try:
                    await self._take(client)
                finally:
                    await client.close()
            await asyncio.sleep(0.3)

    async def _take(self, client: Any) -> None:
        stream = client.jetstream(timeout=3)
        config = ConsumerConfig(ack_wait=10)
        shots = await stream.pull_subscribe("facegate.shots.>", durable="test", stream="FACEGATE", config=config)
        while not self._stop.is_set() and client.is_connected:
            try:
                found = await shots.fetch(32, timeout=1)
            except nats.errors.TimeoutError:
                continue
            for message in found:
                header, *_ = msgspec.msgpack.decode(message.data, type=list[msgspec.Raw])
                shot = msgspec.msgpack.decode(bytes(header), type=ShotHeader)
                self.copies += shot.shot_id in self.headers
                self.headers[shot.shot_id] = shot
                await message.ack()


def status(fleet: str) -> dict[str, Any]:
    """What ``facegate fleet status --json`` prints; nothing where it cannot."""
    try:
        found: dict[str, Any] = msgspec.to_builtins(admin.run(admin.status(parse(fleet))))
    except FleetError:
        return {"gates": {}, "cameras": {}}
    return found


def camera(fleet: str, name: str) -> dict[str, Any]:
    """What is known of a camera now; ``state`` is empty where the fleet does not answer."""
    found: dict[str, Any] = status(fleet)["cameras"].get(name, {"gate": None, "state": ""})
    return found


def put(url: str, bucket: str, name: str, value: bytes) -> None:
    """Write something that facegate would not."""

    async def write() -> None:
        client = await nats.connect(url)
        await (await client.jetstream().key_value(bucket)).put(name, value)
        await client.close()

    asyncio.run(write())


def forget_who_listens(url: str, stream: str) -> None:
    """End every consumer of a stream, as a server that dies does with those that it kept."""

    async def forget() -> None:
        client = await nats.connect(url)
        try:
            stream_of = client.jetstream()
            for consumer in await stream_of.consumers_info(stream):
                await stream_of.delete_consumer(stream, consumer.name)
        finally:
            await client.close()

    asyncio.run(forget())


def until(fine: Callable[[], Any], what: str = "it", within_s: float = PATIENCE_S) -> float:
    """Wait; return for how long. A bound that is a promise allows for what this machine takes for everything."""
    began = monotonic()
    while not fine():
        assert monotonic() - began < within_s, f"{what} within {within_s:.1f} s"
        sleep(0.1)
    return monotonic() - began


def watched(watches: Sequence[Viewing], cameras: Sequence[str]) -> set[str]:
    """Cameras that somebody watches now."""
    return {watch.path[1:] for watch in watches if watch.ended_s is None} & set(cameras)


def twice_s(watches: Sequence[Viewing]) -> float:
    """Camera-seconds with two clients, by the server's own log."""
    now, found = monotonic(), 0.0
    for path in {watch.path for watch in watches}:
        spans = sorted((watch.began_s, watch.ended_s or now) for watch in watches if watch.path == path)
        for (_, end), (begin, _) in itertools.pairwise(spans):
            found += max(0.0, end - begin)
    return found


def longest_gap_s(watches: Sequence[Viewing], camera: str) -> float:
    """The longest time for which nobody watched a camera, after the first one did."""
    spans = sorted((w.began_s, w.ended_s or monotonic()) for w in watches if w.path == f"/{camera}")
    return max((begin - end for (_, end), (begin, _) in itertools.pairwise(spans)), default=0.0)


def leader(url: str, stream: str) -> str:
    """The server that leads a stream; nothing where none does, as far as is known."""

    async def quiet(error: Exception) -> None: ...

    async def ask() -> str:
        client = await nats.connect(url.split(","), connect_timeout=2, error_cb=quiet)
        try:
            info = await client.jetstream(timeout=1).stream_info(stream)
            return str(info.cluster.leader or "")
        except (nats.errors.Error, TimeoutError):
            return ""
        finally:
            await client.close()

    return asyncio.run(ask())


def plain(text: str) -> str:
    """Without colors and line ends."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())


def leases(url: str) -> dict[str, bytes]:
    """Every key of a fleet's leases."""

    async def ask() -> dict[str, bytes]:
        client = await nats.connect(url)
        try:
            bucket = await client.jetstream().key_value("facegate-facegate-leases")
            return {key: (await bucket.get(key)).value or b"" for key in await bucket.keys()}
        finally:
            await client.close()

    return asyncio.run(ask())
