"""RTSP, HTTP(S), HLS and MJPEG streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from threading import Event
from time import monotonic
from urllib.parse import urlsplit

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from facegate.errors import ConfigError, SourceError, os_errors
from facegate.pipeline.addresses import redact, suspicious, with_login
from facegate.pipeline.config import CameraConfig
from facegate.pipeline.records import Frame, FrameRef, Image
from facegate.pipeline.sources.base import StreamInfo, UnauthorizedError
from facegate.pipeline.sources.decoder import Decoder, error_reason, hwaccel
from facegate.pipeline.sources.idle_decoding import DecodingMode, KeyframeOnlyMode
from facegate.pipeline.sources.packet_reader import PacketReader, Packets

RTSP = ("rtsp", "rtsps")
HTTP = ("http", "https")
PLAYLIST = ".m3u8"
DOWNLOADS = (".mp4", ".mkv", ".avi", ".mov", ".webm")
"""Files behind HTTP: every frame is processed, and they end."""


class NetworkSource:
    """A stream behind a URL."""

    def __init__(
        self,
        config: CameraConfig,
        is_idle: Callable[[], bool] = lambda: False,
        packets: Callable[[InputContainer, VideoStream, str], Packets] = PacketReader,
        make_mode: Callable[[], DecodingMode] = KeyframeOnlyMode,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            config: the camera.
            is_idle: see :class:`~facegate.pipeline.sources.decoder.Decoder`.
            packets: see :class:`~facegate.pipeline.sources.decoder.Decoder`.
            make_mode: see :class:`~facegate.pipeline.sources.decoder.Decoder`.

        Raises:
            ConfigError: not a URL.
        """
        self._config = config
        self._is_idle = is_idle
        self._packets = packets
        self._make_mode = make_mode
        try:
            parts = urlsplit(config.source)
        except ValueError as error:
            raise ConfigError(f"{redact(config.source)} is not a valid URL: {str(error).lower()}") from error
        self._rtsp = parts.scheme in RTSP
        self.live = self._rtsp or PurePosixPath(parts.path).suffix.lower() not in DOWNLOADS
        self.reconnectable = self.live
        self._playlist = parts.path.lower().endswith(PLAYLIST)
        self._decoder: Decoder | None = None

    @property
    def packets_skipped(self) -> int:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        return 0 if self._decoder is None else self._decoder.packets_skipped

    @property
    def packets_idle(self) -> int:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        return 0 if self._decoder is None else self._decoder.packets_idle

    def info(self) -> StreamInfo:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        return StreamInfo() if self._decoder is None else self._decoder.info()

    def frames(self, stop: Event) -> Iterator[Frame]:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        with self._opened() as decoder:
            yield from decoder.frames(stop)

    def pictures(self, stop: Event) -> Iterator[tuple[FrameRef, av.VideoFrame]]:
        """As ``frames``, unconverted."""
        with self._opened() as decoder:
            yield from decoder.pictures(stop)

    def to_rgb(self, picture: av.VideoFrame) -> Image:
        """Convert one of :meth:`pictures` to RGB, upright and with square pixels."""
        assert self._decoder is not None
        return self._decoder.to_rgb(picture)

    @contextmanager
    def _opened(self) -> Iterator[Decoder]:
        config = self._config
        shown = redact(config.source)
        started = monotonic()
        address = self._address()
        try:
            container = av.open(
                address,
                options=self._options(),
                timeout=(config.timeout_s, config.timeout_s),
                hwaccel=hwaccel(config),
            )
        except (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError) as error:
            raise UnauthorizedError(f"{shown} rejected the credentials: check user and password") from error
        except (av.error.FFmpegError, OSError, RuntimeError) as error:
            # A timed-out open reports "invalid data" or "exit requested"; only the clock shows it.
            gave_up = monotonic() - started >= config.timeout_s
            cause = f"no answer within {config.timeout_s:g} s" if gave_up else error_reason(error)
            check = "check address, port and path"
            if suspicious(config.source):
                check += "; set a password that contains / ? # or @ with 'user' and 'password'"
            raise SourceError(f"cannot open {shown}: {cause}; {check}") from error
        with container:
            self._decoder = Decoder(
                config,
                container,
                shown,
                live=self.live,
                is_idle=self._is_idle,
                packets=self._packets,
                make_mode=self._make_mode,
            )
            yield self._decoder

    def _address(self) -> str:
        """Return the URL with its login.

        Raises:
            SourceError: the password file cannot be read.
        """
        config = self._config
        if config.user is None:
            return config.source
        password = config.password or ""
        if config.password_file is not None:
            with os_errors(SourceError, f"cannot read password_file {config.password_file}"):
                password = config.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        return with_login(config.source, config.user, password)

    def _options(self) -> dict[str, str]:
        # "nobuffer" would discard what was received while probing: one or two seconds of faces.
        options = {"analyzeduration": "500000"}
        if self._rtsp:
            # Frame rates are measured here; probing for one would delay the first half second.
            return options | {"rtsp_transport": self._config.transport, "fpsprobesize": "0"}
        # A playlist must not lead to files of this machine.
        options["protocol_whitelist"] = "http,https,tcp,tls,crypto,httpproxy"
        if self.live and not self._playlist:
            # MJPEG pictures carry no timestamps; their arrival is used.
            options["use_wallclock_as_timestamps"] = "1"
        return options
