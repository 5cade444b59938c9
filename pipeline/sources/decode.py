"""Decoding by PyAV (FFmpeg), for files and network streams alike."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import cache
from threading import Event
from time import monotonic
from typing import Any

import av
import av.error
import msgspec
import numpy as np
import structlog
from av.codec.hwaccel import HWAccel

from facegate.errors import SourceError
from facegate.pipeline.addresses import redact
from facegate.pipeline.config import CameraConfig
from facegate.pipeline.records import Frame, FrameRef, contiguous
from facegate.pipeline.sources.base import StreamInfo
from facegate.pipeline.sources.pace import Backlog, Hurry, sampler

HARDWARE = ("cuda", "vaapi", "qsv")

log = structlog.get_logger(__name__)


@cache
def hardware_decoder() -> str | None:
    """The kind of this machine's hardware decoder, tried once; ``None`` where there is none."""
    for kind in HARDWARE:
        try:
            HWAccel(device_type=kind, allow_software_fallback=False).create(av.Codec("h264", "r"))
        except (av.error.FFmpegError, OSError, NotImplementedError, RuntimeError, ValueError):
            continue
        log.info("decoding in hardware", kind=kind)
        return kind
    log.debug("decoding on the CPU: no hardware decoder answers", tried=HARDWARE)
    return None


def hwaccel(config: CameraConfig) -> HWAccel | None:
    """What ``av.open`` needs to decode as the configuration says; only ``auto`` falls back to the CPU."""
    if config.decoder == "cpu":
        return None
    if config.decoder != "auto":
        return HWAccel(device_type=config.decoder, allow_software_fallback=False)
    kind = hardware_decoder()
    return None if kind is None else HWAccel(device_type=kind, allow_software_fallback=True)


def reason(error: BaseException) -> str:
    """The cause alone: FFmpeg's own text repeats the URL, password included."""
    if isinstance(error, av.error.ExitError | av.error.TimeoutError):
        return "nothing received within the time-out"
    text = getattr(error, "strerror", None) or type(error).__name__
    return redact(str(text)).lower()


class Decoder:
    """Turns one opened container's video into frames. The caller owns the container."""

    def __init__(self, config: CameraConfig, container: Any, shown: str, *, live: bool) -> None:
        """Prepare to decode.

        Args:
            config: the camera.
            container: of ``av.open``.
            shown: how messages name it, without its password.
            live: decode without delay, measure how late frames are, and hurry where they are late.

        Raises:
            SourceError: there is no video in it.
        """
        if not container.streams.video:
            raise SourceError(f"{shown} has no video stream")
        self._config = config
        self._container = container
        self._shown = shown
        self._live = live
        self._stream = container.streams.video[0]
        # Frame threading would hold back one frame per thread; slices add no delay.
        self._stream.thread_type = "SLICE" if live else "AUTO"
        self.not_decoded = 0
        """Packets that were left out in order to catch up."""
        self._keys: deque[float] = deque(maxlen=10)

    def info(self) -> StreamInfo:
        """What the container and its key frames say."""
        stream, keys = self._stream, list(self._keys)
        rate = stream.average_rate or stream.guessed_rate
        return StreamInfo(
            codec=stream.codec_context.name,
            fps=None if not rate else round(float(rate), 3),
            key_frame_every_s=round((keys[-1] - keys[0]) / (len(keys) - 1), 3) if len(keys) > 1 else None,
        )

    def frames(self, stop: Event) -> Iterator[Frame]:
        """Yield frames until the end or ``stop``."""
        for ref, picture in self.pictures(stop):
            image = contiguous(picture.to_ndarray(format="rgb24"))
            turns = round((getattr(picture, "rotation", 0) or 0) / 90) % 4
            if turns:
                image = contiguous(np.rot90(image, turns))
                ref = msgspec.structs.replace(ref, width=image.shape[1], height=image.shape[0])
            yield Frame(ref=ref, image=image)

    def pictures(self, stop: Event) -> Iterator[tuple[FrameRef, Any]]:
        """Yield PyAV's pictures, not converted yet, and what they are."""
        stream = self._stream
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        keep, backlog, hurry = sampler(self._config.max_fps), Backlog(), Hurry()
        count = seq = 0
        first_s = 0.0
        for picture in self._pictures(hurry):
            if stop.is_set():
                return
            time_s = float(picture.time) if picture.time is not None else count / fps
            if self._live and not count:
                first_s = time_s  # HLS and wall clocks begin anywhere
            pts_s = time_s - first_s
            count += 1
            if picture.key_frame:
                self._keys.append(pts_s)
            now = monotonic()
            behind_s = 0.0
            if self._live:
                behind_s = backlog.step(pts_s, now)
                stream.codec_context.skip_frame = hurry.step(behind_s)
            if not keep(pts_s):
                continue
            started = self._container.start_time_realtime
            ref = FrameRef(
                camera=self._config.name,
                seq=seq,
                pts_s=pts_s,
                received_s=now,
                captured_at=started / 1e6 + time_s if self._live and started else None,
                width=picture.width,
                height=picture.height,
                behind_s=behind_s,
            )
            yield ref, picture
            seq += 1
        if count == 0:
            raise SourceError(f"{self._shown} holds no frame that can be decoded")

    def _pictures(self, hurry: Hurry) -> Iterator[Any]:
        """Demux and decode; a damaged packet costs its frames and no more."""
        packets = self._container.demux(self._stream)
        last = monotonic()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.error.EOFError, av.error.ConnectionResetError):
                return
            except (av.error.FFmpegError, OSError) as error:
                raise SourceError(f"{self._shown} broke off: {reason(error)}") from error
            try:
                pictures = packet.decode()
            except av.error.FFmpegError:
                pictures = []
            hurried = hurry.skip != "DEFAULT"
            self.not_decoded += hurried and not pictures
            if pictures or hurried:
                last = monotonic()
            elif self._live and monotonic() - last > self._config.timeout_s:
                raise SourceError(
                    f"{self._shown} sends nothing that can be decoded for {self._config.timeout_s:g} s"
                )
            yield from pictures
