"""ONVIF devices on loopback, with faults of real ones: clocks, addresses and answers that are wrong, or late."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import sleep

MEDIA2 = "http://www.onvif.org/ver20/media/wsdl"
ENVELOPE = '<?xml version="1.0"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope">{}</s:Envelope>'


def notification(topic: str, state: str | None, operation: str = "Changed") -> str:
    """A message of an event service."""
    item = "" if state is None else f'<t:SimpleItem Name="State" Value="{state}"/>'
    return (
        f"<n:NotificationMessage xmlns:n='n' xmlns:t='t'><n:Topic>{topic}</n:Topic><n:Message>"
        f'<t:Message UtcTime="2026-01-01T00:00:00Z" PropertyOperation="{operation}"><t:Source>'
        f'<t:SimpleItem Name="Rule" Value="1"/></t:Source><t:Data>{item}</t:Data></t:Message></n:Message>'
        "</n:NotificationMessage>"
    )


@dataclass
class OnvifCamera:
    """What a device says of itself."""

    streams: dict[str, tuple[int, int, str]]
    """Width, height and RTSP URL by token."""
    login: tuple[str, str] = ("viewer", "s3c/r:et")
    serial: str = "SN-1"
    model: str = "Model 1"
    delay_s: float = 0.0
    """Before every answer."""
    clock: timedelta = timedelta()
    """Its time minus that of this host."""
    stated_host: str = "127.0.0.1"
    """In the addresses that it states."""
    action: str = "ProbeMatches"
    media2: bool = False
    """Lists its H.265 profiles in the media service 2.0 only."""
    hides_clock: bool = False
    """Wants a login also for its time."""
    asked: list[str] = field(default_factory=list)
    events: SimpleQueue[str] = field(default_factory=SimpleQueue)
    """Notifications that it has not told yet; see :func:`notification`."""
    port: int = 0

    def answer(self, body: str) -> tuple[int, str]:
        found = re.search(r"<e:Body><q:(\w+)", body)
        assert found is not None
        name = found[1]
        self.asked.append(name)
        sleep(self.delay_s)
        here = f"http://{self.stated_host}:{self.port}"
        if (self.hides_clock or name != "GetSystemDateAndTime") and not self._authorized(body):
            fault = "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>ter:NotAuthorized</s:Value>"
            return 400, fault + "</s:Subcode></s:Code></s:Fault>"
        token = re.search(r"ProfileToken>([^<]*)<", body)
        match name:
            case "GetSystemDateAndTime":
                now = datetime.now(UTC) + self.clock
                return 200, (
                    "<t:UTCDateTime xmlns:t='x'>"
                    f"<t:Time><t:Hour>{now.hour}</t:Hour><t:Minute>{now.minute}</t:Minute><t:Second>{now.second}"
                    f"</t:Second></t:Time><t:Date><t:Year>{now.year}</t:Year><t:Month>{now.month}</t:Month>"
                    f"<t:Day>{now.day}</t:Day></t:Date></t:UTCDateTime>"
                )
            case "GetDeviceInformation":
                return 200, (
                    f"<Manufacturer>Acme</Manufacturer><Model>{self.model}</Model>"
                    f"<SerialNumber>{self.serial}</SerialNumber>"
                )
            case "GetCapabilities":
                return 200, (
                    f"<Capabilities><Media><XAddr>{here}/media</XAddr></Media>"
                    f"<Events><XAddr>{here}/events</XAddr></Events></Capabilities>"
                )
            case "CreatePullPointSubscription":
                return 200, (
                    f"<SubscriptionReference><a:Address xmlns:a='a'>{here}/pull</a:Address>"
                    "<a:ReferenceParameters xmlns:a='a'><v:Id xmlns:v='v'>7</v:Id></a:ReferenceParameters>"
                    "</SubscriptionReference>"
                )
            case "PullMessages":
                if ">7</" not in body:
                    return 400, "<s:Fault><s:Reason><s:Text>no such subscription</s:Text></s:Reason></s:Fault>"
                with contextlib.suppress(Empty):
                    return 200, self.events.get(timeout=0.1)
                return 200, "<PullMessagesResponse/>"
            case "Renew":
                return 200, "<RenewResponse/>"
            case "GetServices" if self.media2:
                return 200, (
                    f"<Service><Namespace>{MEDIA2}</Namespace><XAddr>{here}/media2</XAddr></Service>"
                    f"<Service><Namespace>other</Namespace><XAddr>{here}/other</XAddr></Service>"
                )
            case "GetProfiles" if MEDIA2 in body:
                return 200, "".join(
                    f'<Profiles token="{name}"><Configurations><VideoEncoder token="v"><Encoding>H265</Encoding>'
                    f"<Resolution><Width>{width}</Width><Height>{height}</Height></Resolution><RateControl>"
                    "<FrameRateLimit>25</FrameRateLimit></RateControl></VideoEncoder></Configurations></Profiles>"
                    for name, (width, height, _) in self.streams.items()
                )
            case "GetProfiles" if not self.media2:
                return 200, "".join(
                    f'<Profiles token="{name}"><VideoEncoderConfiguration><Encoding>H264</Encoding><Resolution>'
                    f"<Width>{width}</Width><Height>{height}</Height></Resolution><RateControl><FrameRateLimit>25"
                    "</FrameRateLimit></RateControl></VideoEncoderConfiguration></Profiles>"
                    for name, (width, height, _) in self.streams.items()
                )
            case "GetStreamUri":
                assert token is not None and (MEDIA2 in body) == self.media2
                url = self.streams[token[1]][2].replace("127.0.0.1", self.stated_host)
                return 200, f"<MediaUri><Uri>{url.replace('&', '&amp;')}</Uri></MediaUri>"
            case _:
                return 400, "<s:Fault><s:Reason><s:Text>not supported</s:Text></s:Reason></s:Fault>"

    def _authorized(self, body: str) -> bool:
        fields = dict(re.findall(r"<\w:(Username|Password|Nonce|Created)(?:\s[^>]*)?>([^<]*)<", body))
        if len(fields) < 4 or fields["Username"] != self.login[0]:
            return False
        created = datetime.strptime(fields["Created"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        fresh = abs(created - datetime.now(UTC) - self.clock) < timedelta(seconds=60)
        text = base64.b64decode(fields["Nonce"]) + fields["Created"].encode() + self.login[1].encode()
        return fresh and fields["Password"] == base64.b64encode(hashlib.sha1(text).digest()).decode()

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve; yield ``host:port``."""
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status, content = camera.answer(body)
                data = ENVELOPE.format(f"<s:Body>{content}</s:Body>").encode()
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = server.server_address[1]
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"127.0.0.1:{self.port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def probe_match(self) -> bytes:
        """The announcement of WS-Discovery."""
        return ENVELOPE.format(
            f"<s:Header><a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/{self.action}</a:Action></s:Header>"
            "<s:Body><d:ProbeMatches><d:ProbeMatch><a:EndpointReference><a:Address>urn:uuid:"
            f"{self.serial}</a:Address></a:EndpointReference><d:Scopes>onvif://www.onvif.org/hardware/Model%201 "
            f"onvif://www.onvif.org/type/video_encoder</d:Scopes><d:XAddrs>http://{self.stated_host}:{self.port}"
            f"/onvif/device_service</d:XAddrs></d:ProbeMatch></d:ProbeMatches></s:Body>"
        ).encode()


@contextmanager
def announcing(*cameras: OnvifCamera) -> Iterator[tuple[str, int]]:
    """Answer the question of WS-Discovery for cameras; yield the address that is asked in place of multicast."""
    stop = Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.05)

        def run() -> None:
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    data, peer = sock.recvfrom(65_536)
                    assert b"/discovery/Probe<" in data
                    for camera in cameras:
                        sock.sendto(camera.probe_match(), peer)

        thread = Thread(target=run)
        thread.start()
        yield sock.getsockname()
        stop.set()
        thread.join()
