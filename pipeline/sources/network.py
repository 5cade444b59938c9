"""RTSP, HTTP(S), HLS and MJPEG streams, snapshots, and files behind HTTP."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Event
from time import monotonic
from urllib.parse import urlsplit

import av
import av.error
import msgspec
import structlog
from av.container import InputContainer
from av.video.stream import VideoStream

from facegate.errors import ConfigError, SourceError, os_errors
from facegate.pipeline.addresses import has_login, redact, suspicious, with_login
from facegate.pipeline.config import CameraConfig
from facegate.pipeline.login.digest import Challenge, UnauthorizedError
from facegate.pipeline.login.relay import LoginRelay, certificate_problem, offered_challenge
from facegate.pipeline.records import Frame, FrameRef, Image
from facegate.pipeline.sources.base import HardwareDecoding, RefusedError, StreamInfo, error_reason
from facegate.pipeline.sources.decoder import Decoder
from facegate.pipeline.sources.idle_decoding import DecodingMode, KeyframeOnlyMode
from facegate.pipeline.sources.packet_reader import PacketReader, Packets

RTSP = ("rtsp", "rtsps")
HTTP = ("http", "https")
TRANSPORTS = ("tcp", "udp")
SNAPSHOT_FPS = 1.0
"""Snapshots per second without ``max_fps``."""
UNAUTHORIZED = (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)
ANSWERS = (
    av.error.HTTPBadRequestError,
    av.error.HTTPNotFoundError,
    av.error.HTTPOtherClientError,
    av.error.HTTPServerError,
)
"""The server was reached and answers with an error."""

log = structlog.get_logger(__name__)


class NetworkSource:
    """A stream, a snapshot or a file behind a URL: what comes decides."""

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
        self.live = self.reconnectable = True
        self._transport = "tcp" if config.transport == "auto" else config.transport
        self._challenge: Challenge | None = None
        """A login that FFmpeg does not know, once the camera has asked for it."""
        self._decoder: Decoder | None = None
        self._hardware = HardwareDecoding(config)

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
        if self._decoder is None:
            return StreamInfo()
        return msgspec.structs.replace(self._decoder.info(), transport=self._transport if self._rtsp else None)

    def frames(self, stop: Event) -> Iterator[Frame]:
        """See :class:`facegate.pipeline.sources.base.Source`."""
        with self._opened() as (decoder, is_snapshot):
            if not is_snapshot:
                yield from decoder.frames(stop)
                return
        yield from self._snapshots(stop)

    def pictures(self, stop: Event) -> Iterator[tuple[FrameRef, av.VideoFrame]]:
        """As ``frames``, unconverted; of a snapshot, one."""
        with self._opened() as (decoder, _):
            yield from decoder.pictures(stop)

    def to_rgb(self, picture: av.VideoFrame) -> Image:
        """Convert one of :meth:`pictures` to RGB, upright and with square pixels."""
        assert self._decoder is not None
        return self._decoder.to_rgb(picture)

    def _snapshots(self, stop: Event) -> Iterator[Frame]:
        """Fetch a picture again and again."""
        interval_s, seq = 1 / (self._config.max_fps or SNAPSHOT_FPS), 0
        started = due = monotonic()
        while not stop.wait(max(0.0, due - monotonic())):
            with self._opened() as (decoder, _):
                frame = next(decoder.frames(stop), None)
            if frame is None:
                return
            now = monotonic()
            ref = msgspec.structs.replace(frame.ref, seq=seq, pts_s=now - started, received_s=now)
            yield Frame(ref=ref, image=frame.image)
            due, seq = max(due + interval_s, now), seq + 1

    @contextmanager
    def _opened(self) -> Iterator[tuple[Decoder, bool]]:
        """Open; yield the decoder, and whether a single picture came."""
        with ExitStack() as stack:
            container = stack.enter_context(self._container(stack))
            kind = container.format.name
            # A raw MJPEG stream of known length is a picture with something behind it.
            is_snapshot = kind.endswith("_pipe") or (kind == "mjpeg" and container.size > 0)
            self.live = self.reconnectable = self._rtsp or is_snapshot or _is_endless(container)
            self._decoder = Decoder(
                self._config,
                container,
                redact(self._config.source),
                live=self.live and not is_snapshot,
                is_idle=self._is_idle,
                packets=self._packets,
                make_mode=self._make_mode,
            )
            try:
                yield self._decoder, is_snapshot
            except SourceError as error:
                if not self._decoder.gave_pictures:
                    self._hardware.give_up(str(error))
                raise

    def _container(self, stack: ExitStack) -> InputContainer:
        """Open the URL, with another transport or login where the server wants that."""
        url, tls = self._address(), None
        if self._challenge is None:
            try:
                return self._open(url)
            except UnauthorizedError:
                if not has_login(url):
                    raise
                tls = self._tls()
                self._challenge = offered_challenge(url, tls, self._config.timeout_s)
                if self._challenge is None:
                    raise
                log.info("login through a relay", camera=self._config.name, algorithm=self._challenge.algorithm)
        relay = LoginRelay(url, self._challenge, tls or self._tls(), self._config.timeout_s)
        return self._open(stack.enter_context(relay).url)

    def _open(self, url: str) -> InputContainer:
        shown, config = redact(self._config.source), self._config
        others = TRANSPORTS if self._rtsp and config.transport == "auto" else ()
        refused: Exception | None = None
        for transport in dict.fromkeys((self._transport, *others)):
            started = monotonic()
            try:
                container = av.open(
                    url,
                    options=self._options(transport),
                    timeout=(config.timeout_s, config.timeout_s),
                    hwaccel=self._hardware.accelerator(),
                )
            except UNAUTHORIZED as error:
                raise UnauthorizedError(f"{shown} rejected the credentials: check user and password") from error
            except (av.error.FFmpegError, OSError, RuntimeError) as error:
                # A timed-out open reports "invalid data" or "exit requested"; only the clock shows it.
                gave_up = monotonic() - started >= config.timeout_s
                refused = self._bad_certificate(shown) or _reason(
                    error, shown, config, transport if self._rtsp else "", gave_up
                )
                refused.__cause__ = error
                if not _refuses_transport(error):
                    break
                continue
            if transport != self._transport:
                log.info("other transport", camera=config.name, transport=transport, refused=self._transport)
                self._transport = transport
            return container
        assert refused is not None
        raise refused

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

    def _tls(self) -> ssl.SSLContext:
        if self._config.verify:
            with os_errors(SourceError, f"cannot read ca_file {self._config.ca_file}"):
                return ssl.create_default_context(cafile=self._config.ca_file)
        return ssl._create_unverified_context()

    def _bad_certificate(self, shown: str) -> SourceError | None:
        """FFmpeg does not say why an encrypted connection failed."""
        config = self._config
        if not config.verify or not config.source.startswith(("rtsps://", "https://")):
            return None
        problem = certificate_problem(config.source, self._tls(), config.timeout_s)
        if problem is None:
            return None
        return SourceError(f"cannot open {shown}: its certificate is not valid: {problem}; set 'ca_file'")

    def _options(self, transport: str) -> dict[str, str]:
        # "nobuffer" would discard what was received while probing: one or two seconds of faces.
        options = {"analyzeduration": "500000"}
        if self._config.verify:
            trusted = self._config.ca_file or ssl.get_default_verify_paths().cafile
            options |= {"tls_verify": "1"} | ({} if trusted is None else {"ca_file": str(trusted)})
        if self._rtsp:
            # Frame rates are measured here; probing for one would delay the first half second.
            return options | {"rtsp_transport": transport, "fpsprobesize": "0"}
        # A playlist must not lead to files of this machine.
        return options | {"protocol_whitelist": "http,https,tcp,tls,crypto,httpproxy"}


def _is_endless(container: InputContainer) -> bool:
    """Whether what comes over HTTP has no known end: a playlist that goes on, or a body without a length."""
    if container.format.name == "hls":
        return container.duration is None
    return container.format.name == "mpjpeg" or container.size <= 0


def _refuses_transport(error: Exception) -> bool:
    """Whether another RTSP transport is worth a try: 461, or what servers answer instead."""
    others = (av.error.HTTPBadRequestError, av.error.HTTPOtherClientError, av.error.HTTPServerError)
    return isinstance(error, others) or getattr(error, "errno", None) == errno.EPROTONOSUPPORT


def _reason(error: Exception, shown: str, config: CameraConfig, transport: str, gave_up: bool) -> SourceError:
    """Why a URL cannot be opened, and what to do."""
    if isinstance(error, ANSWERS) and not gave_up:
        return RefusedError(f"cannot open {shown}: the {error_reason(error)}; check the path")
    if transport and getattr(error, "errno", None) == errno.EPROTONOSUPPORT:
        if config.transport == "auto":
            return RefusedError(
                f"cannot open {shown}: the server offers neither TCP nor UDP; check its RTSP settings"
            )
        return RefusedError(
            f"cannot open {shown}: the server does not offer {transport.upper()}; set 'transport: auto'"
        )
    cause = f"no answer within {config.timeout_s:g} s" if gave_up else error_reason(error)
    check = "check address, port and path"
    if suspicious(config.source):
        check += "; set a password that contains / ? # or @ with 'user' and 'password'"
    return SourceError(f"cannot open {shown}: {cause}; {check}")
