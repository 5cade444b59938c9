"""Seconds of video around a visit, cut from a stream's packets without decoding them.

The last packets of each camera are held in memory. A clip begins with the last key picture before the time that was
asked for, or with the oldest packet. Everything happens in the thread that reads the stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from threading import Lock
from time import monotonic, time

import av
import av.error
import msgspec
import structlog
from av.packet import Packet
from av.video.stream import VideoStream

from facegate.store.records import VisitClip

RING_S = 10.0
MAX_RING_BYTES = 16 * 2**20
"""Maximum memory for the packets of a camera."""
MAX_CLIP_BYTES = 32 * 2**20
MAX_CLIPS = 4
"""Maximum number of clips of a camera that are cut at the same time."""
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}

log = structlog.get_logger(__name__)


class _Held(msgspec.Struct, frozen=True, eq=False):
    packet: Packet[VideoStream]
    arrived_s: float


class _Cut:
    """A clip that is being written."""

    def __init__(self, visit: str, first: _Held, asked_s: float, until_s: float) -> None:
        self.visit = visit
        self.until_s = until_s
        self._began_s = self._last_s = first.arrived_s
        self._offset_s = max(0.0, asked_s - first.arrived_s)
        self._file = BytesIO()
        self._output = av.open(self._file, "w", format="mp4", options=FRAGMENTED)
        source = first.packet.stream
        self._stream = self._output.add_stream_from_template(source)
        self.codec = source.codec_context.name
        if self.codec == "hevc":
            self._stream.codec_tag = "hvc1"  # the only one that players of Apple accept
        self._base: int | None = None
        self._last_dts = -1

    def add(self, held: _Held) -> None:
        """Write a packet."""
        source = held.packet
        dts = source.pts if source.dts is None else source.dts
        if dts is None:
            return
        if self._base is None:
            self._base = dts
        copy = Packet(bytes(source))
        copy.time_base = source.time_base or Fraction(1, 90_000)
        copy.dts = max(dts - self._base, self._last_dts + 1)  # a camera's clock may be set back
        copy.pts = max((dts if source.pts is None else source.pts) - self._base, copy.dts)
        copy.is_keyframe = source.is_keyframe
        self._last_dts = copy.dts
        copy.stream = self._stream
        self._output.mux(copy)
        self._last_s = held.arrived_s

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._file.tell()

    def finish(self, camera: str) -> VisitClip:
        """End the file."""
        self._output.close()
        return VisitClip(
            visit=self.visit,
            camera=camera,
            began=round(time() - (monotonic() - self._began_s), 3),
            offset_s=round(self._offset_s, 3),
            seconds=round(self._last_s - self._began_s, 3),
            codec=self.codec,
            mp4=self._file.getvalue(),
        )


class ClipRecorder:
    """Holds the last packets of one camera, and cuts clips. :meth:`begin` may be called from any thread."""

    def __init__(self, camera: str, clip_s: float, deliver: Callable[[VisitClip], None]) -> None:
        """Configure.

        Args:
            camera: name of the camera.
            clip_s: seconds before and after the time that a clip is asked for.
            deliver: takes finished clips, in the thread that reads the stream.
        """
        self._camera = camera
        self._clip_s = clip_s
        self._deliver = deliver
        self._ring: deque[_Held] = deque()
        self._bytes = 0
        self._asked: deque[tuple[str, float]] = deque(maxlen=MAX_CLIPS)
        self._cuts: list[_Cut] = []
        self._failed = False

    def begin(self, visit: str, at_s: float) -> None:
        """Cut the clip of a visit around a monotonic time."""
        self._asked.append((visit, at_s))

    def packet(self, packet: Packet[VideoStream], arrived_s: float) -> None:
        """See :class:`facegate.pipeline.sources.packet_reader.PacketObserver`."""
        if not packet.size:
            return
        held = _Held(packet, arrived_s)
        for cut in self._cuts:
            self._try(cut, lambda cut=cut: cut.add(held))  # type: ignore[misc]
        self._ring.append(held)
        self._bytes += packet.size
        while self._bytes > MAX_RING_BYTES or arrived_s - self._ring[0].arrived_s > RING_S:
            self._bytes -= self._ring.popleft().packet.size
        while self._asked:
            self._start(*self._asked.popleft())
        for cut in [cut for cut in self._cuts if arrived_s >= cut.until_s or cut.size > MAX_CLIP_BYTES]:
            self._finish(cut)

    def end(self) -> None:
        """See :class:`facegate.pipeline.sources.packet_reader.PacketObserver`."""
        for cut in list(self._cuts):
            self._finish(cut)
        self._ring.clear()
        self._bytes = 0

    def _start(self, visit: str, at_s: float) -> None:
        if not self._ring or len(self._cuts) == MAX_CLIPS:
            return
        asked_s = at_s - self._clip_s
        keys = [i for i, held in enumerate(self._ring) if held.packet.is_keyframe and held.arrived_s <= asked_s]
        held = list(self._ring)[keys[-1] if keys else 0 :]
        try:
            cut = _Cut(visit, held[0], asked_s, at_s + self._clip_s)
        except (av.error.FFmpegError, ValueError, OSError) as error:
            self._fail(error)
            return
        self._cuts.append(cut)

        def write() -> None:
            for each in held:
                cut.add(each)

        self._try(cut, write)

    def _finish(self, cut: _Cut) -> None:
        self._cuts.remove(cut)
        try:
            clip = cut.finish(self._camera)
        except (av.error.FFmpegError, ValueError, OSError) as error:
            self._fail(error)
            return
        self._failed = False
        self._deliver(clip)

    def _try(self, cut: _Cut, work: Callable[[], None]) -> None:
        try:
            work()
        except (av.error.FFmpegError, ValueError, OSError) as error:
            self._cuts.remove(cut)
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._failed:
            log.error(
                "clip not cut", camera=self._camera, reason=str(error), remedy="see 'facegate probe' for its codec"
            )
        self._failed = True


class ClipRecorders:
    """The clip recorders of a run, by camera. Thread-safe."""

    def __init__(self, deliver: Callable[[VisitClip], None]) -> None:
        """``deliver`` takes finished clips."""
        self._deliver = deliver
        self._lock = Lock()
        self._by_camera: dict[str, ClipRecorder] = {}

    def prepare(self, camera: str, clip_s: float) -> ClipRecorder | None:
        """Make the recorder of a camera, in place of an earlier one; ``None`` if ``clip_s`` is 0."""
        with self._lock:
            self._by_camera.pop(camera, None)
            if not clip_s:
                return None
            return self._by_camera.setdefault(camera, ClipRecorder(camera, clip_s, self._deliver))

    def begin(self, camera: str, visit: str, at_s: float) -> None:
        """Cut the clip of a visit, if the camera has a recorder."""
        with self._lock:
            recorder = self._by_camera.get(camera)
        if recorder is not None:
            recorder.begin(visit, at_s)
