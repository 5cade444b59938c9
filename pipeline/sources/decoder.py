"""Decodes files and network streams with PyAV (FFmpeg)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from threading import Event
from time import monotonic

import av
import av.error
import msgspec
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from facegate.errors import SourceError
from facegate.pipeline.config import CameraConfig
from facegate.pipeline.records import Frame, FrameRef, Image
from facegate.pipeline.sources.aspect_ratio import to_rgb
from facegate.pipeline.sources.backlog import Arrivals, Backlog, sampler
from facegate.pipeline.sources.base import StreamInfo, error_reason
from facegate.pipeline.sources.idle_decoding import DecodingMode, KeyframeOnlyMode, PacketAction
from facegate.pipeline.sources.media_clock import FileMediaClock, MediaClock
from facegate.pipeline.sources.packet_reader import PacketReader, Packets, ReceivedPacket

SAMPLING_TOLERANCE = 0.15
STOP_POLL_INTERVAL_S = 0.2
"""Seconds between two checks for a stop while a camera sends nothing."""
MAX_DECLARED_FPS = 240.0
"""A higher declared rate is the clock of the stream (90000 of AV1 over RTSP), no frame rate."""
NO_TIMESTAMPS = 0x80
"""AVFMT_NOTIMESTAMPS: the format stores no times, and FFmpeg invents them; the arrival of a packet is used."""
MAX_REORDERED = 16
"""Maximum number of pictures that a decoder holds back (H.264, A.4.1)."""
SAME_LENGTH = 0.9
"""Video streams at least this long, relative to the longest, are equally long."""
NO_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
"""Dispositions of streams that are no film: covers and thumbnails."""
KEY_FRAME_TIMEOUTS = 4
"""Time-outs to wait for the first key frame: some cameras send one in twenty seconds."""


class _Timing(msgspec.Struct, frozen=True):
    """Times of a decoded frame."""

    pts_s: float
    received_s: float
    behind_s: float = 0.0
    captured_at: float | None = None


class Decoder:
    """Decodes the video of an open container. The caller owns the container."""

    def __init__(
        self,
        config: CameraConfig,
        container: InputContainer,
        shown: str,
        *,
        live: bool,
        is_idle: Callable[[], bool] = lambda: False,
        packets: Callable[[InputContainer, VideoStream, str], Packets] = PacketReader,
        make_mode: Callable[[], DecodingMode] = KeyframeOnlyMode,
    ) -> None:
        """Prepare to decode.

        Args:
            config: the camera.
            container: result of ``av.open``.
            shown: name for messages, without its password.
            live: decode without delay, and skip frames to catch up.
            is_idle: returns whether the scene was idle at the last frame (no face, no motion).
            packets: makes the packet reader of a live stream, given container, stream and name.
            make_mode: makes what decides which packets of a live stream are decoded while it is idle.

        Raises:
            SourceError: it has no video stream.
        """
        if not container.streams.video:
            raise SourceError(f"{shown} has no video stream: check the path")
        self._stream = best_video(container)
        for other in container.streams.video:
            if other is not self._stream:
                other.discard = Discard.all
        self._config = config
        self._container = container
        self._shown = shown
        self._live = live
        self._open_packets = packets
        self._make_mode = make_mode
        self._stamped = not container.format.flags & NO_TIMESTAMPS
        # Frame threading would hold back one frame per thread; slices add no delay.
        self._stream.thread_type = "SLICE" if live else "AUTO"
        self.packets_skipped = 0
        """Packets that were not decoded in order to catch up."""
        self.packets_idle = 0
        """Packets that were not decoded because the scene was idle."""
        self.gave_pictures = False
        """Whether any picture was decoded."""
        self._keys_are_pictures = True
        """Whether the last key frame that was decoded alone gave a picture."""
        self._repeats = 0
        self._ahead_pts: int | None = None
        self._is_idle = is_idle
        self._fps = declared_fps(self._stream) or 25.0
        self._decoded = 0
        self._keys: deque[float] = deque(maxlen=10)

    def info(self) -> StreamInfo:
        """Return the properties of the stream."""
        stream, keys = self._stream, list(self._keys)
        videos = self._container.streams.video
        return StreamInfo(
            codec=stream.codec_context.name,
            width=stream.codec_context.width,
            height=stream.codec_context.height,
            pixel=self._pixel,
            fps=declared_fps(stream),
            key_frame_every_s=round((keys[-1] - keys[0]) / (len(keys) - 1), 3) if len(keys) > 1 else None,
            video_streams=tuple(map(_described, sorted(videos, key=lambda each: each is not stream)))
            if len(videos) > 1
            else (),
        )

    def frames(self, stop: Event) -> Iterator[Frame]:
        """Yield frames until the end or ``stop``."""
        for ref, picture in self.pictures(stop):
            try:
                image = self.to_rgb(picture)
            except SourceError:
                self._decoded -= 1  # damaged; a stream of damaged frames only counts as undecodable
                continue
            yield Frame(ref=msgspec.structs.replace(ref, width=image.shape[1], height=image.shape[0]), image=image)

    def to_rgb(self, picture: av.VideoFrame) -> Image:
        """Convert one of :meth:`pictures` to RGB, upright and with square pixels.

        Raises:
            SourceError: it is damaged beyond conversion.
        """
        try:
            return to_rgb(picture, self._pixel, self._config.aspect_ratio)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SourceError(f"{self._shown} sent a damaged picture: {error_reason(error)}") from error

    @property
    def _pixel(self) -> Fraction | None:
        """Pixel aspect ratio of the stream, if it has one."""
        return self._stream.codec_context.sample_aspect_ratio or self._stream.sample_aspect_ratio or None

    def pictures(self, stop: Event) -> Iterator[tuple[FrameRef, av.VideoFrame]]:
        """Yield unconverted PyAV frames with their references."""
        keep = sampler(self._config.max_fps, early=SAMPLING_TOLERANCE if self._live else 0.0)
        count = seq = 0
        for picture, timing in self._live_pictures(stop) if self._live else self._file_pictures():
            if stop.is_set():
                return
            count += 1
            self.gave_pictures = True
            if picture.key_frame:
                self._keys.append(timing.pts_s)
            if not keep(timing.pts_s):
                continue
            ref = FrameRef(
                camera=self._config.name,
                seq=seq,
                pts_s=timing.pts_s,
                received_s=timing.received_s,
                captured_at=timing.captured_at,
                width=picture.width,
                height=picture.height,
                behind_s=timing.behind_s,
            )
            yield ref, picture
            seq += 1
        if count == 0 and not stop.is_set():
            raise SourceError(f"{self._shown} has no decodable frame: check the file or the camera's codec")

    def _file_pictures(self) -> Iterator[tuple[av.VideoFrame, _Timing]]:
        clock, period_s = FileMediaClock(), 1 / self._fps
        held: av.VideoFrame | None = None
        broken: SourceError | None = None
        try:
            for packet in self._container.demux(self._stream):
                for picture in _decoded(packet):
                    if held is not None:
                        yield held, _Timing(clock.step(_stamp_s(held), _stamp_s(picture), period_s), monotonic())
                    held = picture
        except (av.error.EOFError, av.error.ConnectionResetError):
            pass
        except (av.error.FFmpegError, OSError) as error:
            broken = SourceError(f"{self._shown} was interrupted: {error_reason(error)}")
            broken.__cause__ = error
        if held is not None:
            yield held, _Timing(clock.step(_stamp_s(held), None, period_s), monotonic())
        if broken is not None:
            raise broken

    def _live_pictures(self, stop: Event) -> Iterator[tuple[av.VideoFrame, _Timing]]:
        """Decode waiting packets; skip frames when too many wait."""
        clock, arrivals, backlog = MediaClock(), Arrivals(1 / self._fps), Backlog()
        mode = self._make_mode()
        held: list[Packet[VideoStream]] = []
        name = f"facegate-camera-{self._config.name}-packets"
        with self._open_packets(self._container, self._stream, name) as reader:
            for arrived in self._packets(reader, backlog, mode, stop):
                arrivals.step(arrived.arrived_s)
                action = self._hold_packet(mode, held, arrived, backlog)
                if action not in (PacketAction.DECODE, PacketAction.DECODE_KEYFRAME):
                    continue
                taken_s = reader.now()
                skip = backlog.step(
                    waited_s=taken_s - arrived.arrived_s, waiting=arrived.waiting, period_s=arrivals.period_s
                )
                self._stream.codec_context.skip_frame = skip
                pictures = _decoded(arrived.packet)
                if action is PacketAction.DECODE_KEYFRAME:
                    pictures = self._key_picture(arrived.packet, pictures, mode, held)
                else:
                    pictures = list(filter(self._is_new, pictures))
                mode.record_decoded(reader.now() - taken_s, len(pictures))
                self._decoded += sum(not picture.is_corrupt for picture in pictures)
                self.packets_skipped += skip != "DEFAULT" and not pictures
                for picture in pictures:
                    stamp_s = _stamp_s(picture) if self._stamped else None
                    pts_s = clock.step(stamp_s, arrived.arrived_s, arrivals.period_s)
                    captured_at = self._captured_at(stamp_s, clock.trusted)
                    yield picture, _Timing(pts_s, reader.now(), backlog.behind_s, captured_at)
                backlog.record_decode_time(reader.now() - taken_s)

    def _hold_packet(
        self, mode: DecodingMode, held: list[Packet[VideoStream]], arrived: ReceivedPacket, backlog: Backlog
    ) -> PacketAction:
        """Hold or drop a packet, or say that it is decoded: held packets are decoded before, or dropped at a key
        frame."""
        packet = arrived.packet
        action = mode.step(
            packet.size, key=packet.is_keyframe, is_idle=backlog.skip_frame == "DEFAULT" and self._is_idle()
        )
        if action in (PacketAction.HOLD_KEYFRAME, PacketAction.DROP):
            # Where key frames are no pictures alone, the packets since the one before complete the picture.
            keys = [index for index, before in enumerate(held) if before.is_keyframe]
            incomplete = keys and not self._keys_are_pictures and action is PacketAction.HOLD_KEYFRAME
            kept = held[keys[-1] :] if incomplete else []
            self.packets_idle += len(held) - len(kept) + (action is PacketAction.DROP)
            held[:] = kept
            # The decoder must not return pictures from before the gap once it continues.
            self._stream.codec_context.flush_buffers()
        if action in (PacketAction.HOLD, PacketAction.HOLD_KEYFRAME):
            held.append(packet)
        elif action is PacketAction.DECODE:
            for before in held:  # their frames show nothing new, but the next one refers to them
                _decoded(before)
            held.clear()
        elif action is PacketAction.DECODE_KEYFRAME:
            self.packets_idle += sum(not before.is_keyframe for before in held)
            if held:  # or a key frame that is no picture alone would be completed from pictures before the gap
                self._stream.codec_context.flush_buffers()
            held.clear()
        return action

    def _key_picture(
        self,
        packet: Packet[VideoStream],
        pictures: list[av.VideoFrame],
        mode: DecodingMode,
        held: list[Packet[VideoStream]],
    ) -> list[av.VideoFrame]:
        """Return the picture of a key frame, given what decoding it completed.

        With B pictures the decoder holds it back for those before it, which are not decoded: it is asked for all it
        has, and gets the key frame once more with the packets after it.
        """
        found = [picture for picture in pictures if picture.pts == packet.pts]
        if not found:
            found = [picture for picture in self._drained() if picture.pts == packet.pts and not picture.is_corrupt]
            held.append(packet)
            self._repeats = MAX_REORDERED + 1
            self._ahead_pts = packet.pts
        self._keys_are_pictures = bool(found)
        mode.record_key_frame(is_picture=self._keys_are_pictures)
        return found

    def _is_new(self, picture: av.VideoFrame) -> bool:
        """Whether a picture is not one of those up to a key frame that was decoded ahead of them."""
        self._repeats -= self._repeats > 0
        if self._repeats and (
            picture.pts == self._ahead_pts
            or (picture.pts is not None and self._ahead_pts is not None and picture.pts < self._ahead_pts)
        ):
            return False
        self._repeats = 0
        return True

    def _drained(self) -> list[av.VideoFrame]:
        codec = self._stream.codec_context
        try:
            return codec.decode(None)
        except av.error.FFmpegError:
            return []
        finally:
            codec.flush_buffers()

    def _packets(
        self, reader: Packets, backlog: Backlog, mode: DecodingMode, stop: Event
    ) -> Iterator[ReceivedPacket]:
        """Yield packets until the end or ``stop``; raises if nothing decodable arrives in time."""
        config, last, key_seen = self._config, reader.now(), False
        while not stop.is_set():
            if backlog.skip_frame == "NONKEY":
                self.packets_skipped += reader.skip_to_newest_key()
            try:
                arrived = reader.take(STOP_POLL_INTERVAL_S)
            except EOFError:
                return
            except (av.error.FFmpegError, OSError) as error:
                raise SourceError(f"{self._shown} was interrupted: {error_reason(error)}") from error
            before = self._decoded
            if arrived is not None:
                key_seen = key_seen or arrived.packet.is_keyframe
                yield arrived
            undecoded = backlog.skip_frame != "DEFAULT" or (not mode.decodes_idle and self._is_idle())
            if self._decoded > before or (arrived is not None and undecoded):
                last = reader.now()
            # A stream may be joined long before its next key frame; nothing can be decoded until then.
            timeout_s = config.timeout_s * (1 if key_seen else KEY_FRAME_TIMEOUTS)
            if self._is_idle():  # only key frames are decoded, and some cameras send one in twenty seconds
                timeout_s = config.timeout_s * KEY_FRAME_TIMEOUTS
            if reader.now() - last > timeout_s:
                raise SourceError(f"{self._shown} sent no decodable frame for {timeout_s:g} s")

    def _captured_at(self, stamp_s: float | None, trusted: bool) -> float | None:
        """Unix time of capture, if the camera sends it and its timestamps are plausible."""
        started = self._container.start_time_realtime
        return started / 1e6 + stamp_s if started and stamp_s is not None and trusted else None


def best_video(container: InputContainer) -> VideoStream:
    """Return the longest video stream, of equally long ones the largest; covers and thumbnails only if there is
    nothing else. A container without video has none."""
    films = [stream for stream in container.streams.video if not stream.disposition & NO_PICTURES]
    streams = films or list(container.streams.video)
    longest_s = max(map(_length_s, streams))
    long = [stream for stream in streams if _length_s(stream) >= SAME_LENGTH * longest_s]
    return max(long, key=lambda stream: stream.codec_context.width * stream.codec_context.height)


def declared_fps(stream: VideoStream) -> float | None:
    """Return the declared frame rate, if it can be one."""
    rate = stream.average_rate or stream.guessed_rate
    return None if not rate or rate > MAX_DECLARED_FPS else round(float(rate), 3)


def _length_s(stream: VideoStream) -> float:
    """Length of a stream; 0 if it is unknown, as in live ones."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    stated = stream.metadata.get("DURATION", "")  # Matroska: hours:minutes:seconds
    try:
        hours, minutes, seconds = map(float, stated.split(":"))
    except ValueError:
        return 0.0
    return 3600 * hours + 60 * minutes + seconds


def _described(stream: VideoStream) -> str:
    codec = stream.codec_context
    return f"{codec.name} {codec.width}x{codec.height}"


def _stamp_s(picture: av.VideoFrame) -> float | None:
    return None if picture.time is None else float(picture.time)


def _decoded(packet: Packet[VideoStream]) -> list[av.VideoFrame]:
    """Return the frames that a packet completes; a damaged packet gives none."""
    try:
        return packet.decode()
    except av.error.FFmpegError:
        return []
