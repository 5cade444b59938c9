"""Chooses a source by its configuration. A new kind of source is one new file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from facegate.errors import ConfigError
from facegate.pipeline.addresses import redact
from facegate.pipeline.config import CameraConfig
from facegate.pipeline.sources.base import Source
from facegate.pipeline.sources.dual_stream import DualStreamSource
from facegate.pipeline.sources.file import FileSource, RealtimePlayback
from facegate.pipeline.sources.folder import ImageFolderSource, is_picture
from facegate.pipeline.sources.idle_decoding import DecodingMode, KeyframeOnlyMode, OnDemandMode
from facegate.pipeline.sources.network import HTTP, RTSP, NetworkSource
from facegate.pipeline.sources.packet_reader import PacketReader, PacketsFactory
from facegate.pipeline.sources.webcam import WebcamSource


def open_source(
    config: CameraConfig,
    is_idle: Callable[[], bool] = lambda: False,
    main_wanted: Callable[[], bool] = lambda: True,
    packets: PacketsFactory = PacketReader,
) -> Source:
    """Choose the source: a webcam index or device, a URL, a folder of pictures, a picture, or a video file.

    Nothing is opened before frames are requested. ``is_idle`` returns whether the scene was idle at the last frame;
    a network stream then decodes as little as possible. ``main_wanted`` returns whether a face is present that is
    worth the size of the main stream, which is not decoded until then. ``packets`` makes the packet reader of a
    network stream, of the sub stream where there are two.

    Raises:
        ConfigError: the URL's scheme is not supported.
    """
    source = config.source
    if source.isdecimal() or source.startswith("/dev/"):
        return WebcamSource(config)
    if "://" in source:
        if source.split("://")[0].lower() not in RTSP + HTTP:
            raise ConfigError(f"{redact(source)}: unsupported URL: use rtsp://, rtsps://, http:// or https://")
        # A camera that reports events is decoded on demand, others at their key frames.
        mode: Callable[[], DecodingMode] = KeyframeOnlyMode if config.onvif_events is None else OnDemandMode
        if config.main_stream is not None:
            # The sub stream is sampled; of the main stream every frame is needed.
            large = config.model_copy(update={"source": config.main_stream, "max_fps": None})
            main = NetworkSource(large, lambda: not main_wanted(), make_mode=OnDemandMode)
            return DualStreamSource(NetworkSource(config, is_idle, packets, mode), main, main_wanted)
        recording: Source = NetworkSource(config, is_idle, packets, mode)
    else:
        pictures = Path(source).is_dir() or is_picture(Path(source))
        recording = ImageFolderSource(config) if pictures else FileSource(config)
    return RealtimePlayback(recording) if config.realtime else recording
