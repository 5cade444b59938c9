"""The few requests of ONVIF (device and media service 1.0) that say which streams a camera offers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import msgspec

from facegate.errors import SourceError
from facegate.pipeline.discovery.onvif_client import DEVICE, OnvifClient, descendants, text_of
from facegate.pipeline.discovery.records import FoundCamera, StreamProfile, choose_streams

MEDIA = "http://www.onvif.org/ver10/media/wsdl"
SCHEMA = "http://www.onvif.org/ver10/schema"


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
            about, services = pool.map(
                lambda request: self.call(self.url, DEVICE, *request),
                [("GetDeviceInformation", ""), ("GetCapabilities", "<q:Category>Media</q:Category>")],
            )
            found = msgspec.structs.replace(
                known,
                vendor=text_of(about, "Manufacturer"),
                model=text_of(about, "Model") or known.model,
                serial=text_of(about, "SerialNumber"),
                clock_offset_s=offset_s,
            )
            media = self.here(
                next((text_of(each, "XAddr") for each in descendants(services, "Media")), "") or self.url
            )
            main, sub = choose_streams(_profiles(self.call(media, MEDIA, "GetProfiles", "")))
            if main is None:
                return msgspec.structs.replace(
                    found, problem="it offers no video profile; set one up in the camera"
                )
            urls = pool.map(lambda each: None if each is None else self._stream(media, each), (main, sub))
            snapshot = pool.submit(self._snapshot, media, main)
            main, sub = urls
            return msgspec.structs.replace(found, main=main, sub=sub, snapshot=snapshot.result())

    def _stream(self, media: str, profile: StreamProfile) -> StreamProfile:
        setup = (
            f'<q:StreamSetup><s:Stream xmlns:s="{SCHEMA}">RTP-Unicast</s:Stream><s:Transport xmlns:s="{SCHEMA}">'
            f"<s:Protocol>RTSP</s:Protocol></s:Transport></q:StreamSetup>"
            f"<q:ProfileToken>{escape(profile.token)}</q:ProfileToken>"
        )
        answer = self.call(media, MEDIA, "GetStreamUri", setup)
        return msgspec.structs.replace(profile, url=self.here(text_of(answer, "Uri"), port=False))

    def _snapshot(self, media: str, profile: StreamProfile) -> str | None:
        token = f"<q:ProfileToken>{escape(profile.token)}</q:ProfileToken>"
        try:
            url = text_of(self.call(media, MEDIA, "GetSnapshotUri", token), "Uri")
        except SourceError:  # many have none
            return None
        return self.here(url, port=False) if url else None


def _profiles(answer: ElementTree.Element) -> list[StreamProfile]:
    found = []
    for profile in descendants(answer, "Profiles"):
        video = next(iter(descendants(profile, "VideoEncoderConfiguration")), None)
        if video is None:
            continue
        numbers = [text_of(video, name) for name in ("Width", "Height", "FrameRateLimit")]
        width, height, fps = (float(number) if number.replace(".", "").isdecimal() else 0.0 for number in numbers)
        token, codec = profile.get("token", ""), text_of(video, "Encoding")
        found.append(StreamProfile(token, codec, int(width), int(height), fps or None))
    return found
