"""The few requests of ONVIF (device service, media services 2.0 and 1.0) that say which streams a camera offers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import msgspec

from facegate.errors import SourceError
from facegate.pipeline.discovery.onvif_client import DEVICE, OnvifClient, descendants, text_of
from facegate.pipeline.discovery.records import FoundCamera, StreamProfile, choose_streams
from facegate.pipeline.login.digest import UnauthorizedError

MEDIA = "http://www.onvif.org/ver10/media/wsdl"
MEDIA2 = "http://www.onvif.org/ver20/media/wsdl"
SCHEMA = "http://www.onvif.org/ver10/schema"


RTSP_UNICAST = (
    f'<q:StreamSetup><s:Stream xmlns:s="{SCHEMA}">RTP-Unicast</s:Stream><s:Transport xmlns:s="{SCHEMA}">'
    "<s:Protocol>RTSP</s:Protocol></s:Transport></q:StreamSetup>"
)
ENCODERS = ("VideoEncoderConfiguration", "VideoEncoder")


class _MediaService(msgspec.Struct, frozen=True):
    url: str
    namespace: str
    wanted: str
    """What GetProfiles asks for, XML."""


class OnvifDevice(OnvifClient):
    """One device's device and media services."""

    def describe(self, known: FoundCamera) -> FoundCamera:
        """Ask for everything; return what is known of the device, with what was learned.

        Raises:
            UnauthorizedError: the login is wrong, or missing.
            SourceError: it does not answer, or not as ONVIF says.
        """
        offset_s = self.read_clock()
        with ThreadPoolExecutor(4) as pool:
            about = pool.submit(self.call, self.url, DEVICE, "GetDeviceInformation")
            media = self._media_service()
            profiles = _profiles(self.call(media.url, media.namespace, "GetProfiles", media.wanted))
            told = about.result()
            found = msgspec.structs.replace(
                known,
                vendor=text_of(told, "Manufacturer"),
                model=text_of(told, "Model") or known.model,
                serial=text_of(told, "SerialNumber"),
                clock_offset_s=offset_s,
            )
            main, sub = choose_streams(profiles)
            if main is None:
                return msgspec.structs.replace(
                    found, problem="it offers no video profile; set one up in the camera"
                )
            urls = pool.map(lambda each: None if each is None else self._stream(media, each), (main, sub))
            snapshot = pool.submit(self._snapshot, media, main)
            main, sub = urls
            return msgspec.structs.replace(found, main=main, sub=sub, snapshot=snapshot.result())

    def _media_service(self) -> _MediaService:
        """The media service 2.0, which alone lists H.265, or else 1.0."""
        try:
            services = self.call(
                self.url, DEVICE, "GetServices", "<q:IncludeCapability>false</q:IncludeCapability>"
            )
        except UnauthorizedError:
            raise
        except SourceError:  # of devices before 2011
            services = None
        for service in () if services is None else descendants(services, "Service"):
            if text_of(service, "Namespace") == MEDIA2:
                url = self.here(text_of(service, "XAddr") or self.url)
                return _MediaService(url, MEDIA2, "<q:Type>VideoEncoder</q:Type>")
        capabilities = self.call(self.url, DEVICE, "GetCapabilities", "<q:Category>Media</q:Category>")
        stated = next((text_of(each, "XAddr") for each in descendants(capabilities, "Media")), "")
        return _MediaService(self.here(stated or self.url), MEDIA, "")

    def _stream(self, media: _MediaService, profile: StreamProfile) -> StreamProfile:
        setup = "<q:Protocol>RTSP</q:Protocol>" if media.namespace == MEDIA2 else RTSP_UNICAST
        token = f"<q:ProfileToken>{escape(profile.token)}</q:ProfileToken>"
        answer = self.call(media.url, media.namespace, "GetStreamUri", setup + token)
        return msgspec.structs.replace(profile, url=self.here(text_of(answer, "Uri"), port=False))

    def _snapshot(self, media: _MediaService, profile: StreamProfile) -> str | None:
        token = f"<q:ProfileToken>{escape(profile.token)}</q:ProfileToken>"
        try:
            url = text_of(self.call(media.url, media.namespace, "GetSnapshotUri", token), "Uri")
        except SourceError:  # many have none
            return None
        return self.here(url, port=False) if url else None


def _profiles(answer: ElementTree.Element) -> list[StreamProfile]:
    found = []
    for profile in descendants(answer, "Profiles"):
        # The element's name in the media service 1.0, and in 2.0.
        videos = [each for name in ENCODERS for each in descendants(profile, name)]
        video = next(iter(videos), None)
        if video is None:
            continue
        numbers = [text_of(video, name) for name in ("Width", "Height", "FrameRateLimit")]
        width, height, fps = (float(number) if number.replace(".", "").isdecimal() else 0.0 for number in numbers)
        token, codec = profile.get("token", ""), text_of(video, "Encoding")
        found.append(StreamProfile(token, codec, int(width), int(height), fps or None))
    return found
