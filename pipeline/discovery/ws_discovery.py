"""WS-Discovery (OASIS 1.1, and the draft of 2005 that ONVIF uses): asks who is there, and reads every answer.

Cameras answer with wrong actions, other namespaces and damaged XML; nothing but an address is needed of them.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import struct
import uuid
from collections.abc import Iterable, Iterator
from time import monotonic
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import escape

import msgspec

MULTICAST = ("239.255.255.250", 3702)
SIOCGIFADDR = 0x8915
REPEAT_S = 0.5
"""Seconds after which the question is sent again, since datagrams are lost."""
_PROBE = (
    '<?xml version="1.0" encoding="UTF-8"?><e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
    'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:n="http://www.onvif.org/ver10/network/wsdl">'
    "<e:Header><w:MessageID>uuid:{id}</w:MessageID><w:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>"
    "<w:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header>"
    "<e:Body><d:Probe><d:Types>n:NetworkVideoTransmitter</d:Types></d:Probe></e:Body></e:Envelope>"
)


class Announcement(msgspec.Struct, frozen=True):
    """A device's answer."""

    endpoint: str
    """Identifier that stays the same, such as ``urn:uuid:...``; empty if it states none."""
    addresses: tuple[str, ...]
    """URLs of its ONVIF device service, those at the address that answered first."""
    model: str = ""
    """Hardware or name from its scopes; empty if it states none."""


def read_answer(data: bytes, peer: str) -> list[Announcement]:
    """Return the devices of a datagram, whatever its action and namespaces are, and also if it is damaged XML.

    Args:
        data: the datagram.
        peer: address that it came from.
    """
    text = data.decode("utf-8", "replace")
    matches = re.split(r"<(?:[\w.-]+:)?ProbeMatch[\s>]", text)
    found = []
    for part in matches[1:] or matches:
        urls = [url for url in _content(part, "XAddrs").split() if urlsplit(url).scheme in ("http", "https")]
        if not urls:
            continue
        urls.sort(key=lambda url: urlsplit(url).hostname != peer)
        scopes = {
            name: unquote(value)
            for name, value in re.findall(r"onvif://www\.onvif\.org/(\w+)/(\S+)", _content(part, "Scopes"))
        }
        endpoint = _content(_content(part, "EndpointReference"), "Address")
        found.append(Announcement(endpoint, tuple(urls), scopes.get("hardware", scopes.get("name", ""))))
    return found


def ask(targets: Iterable[tuple[str, int]], timeout_s: float) -> Iterator[Announcement]:
    """Ask by multicast on every interface, or single hosts, and yield each device once as it answers.

    Args:
        targets: addresses and ports; :data:`MULTICAST` for the local network.
        timeout_s: seconds to wait for answers.
    """
    with contextlib.ExitStack() as stack:
        senders = []
        for address in interface_addresses():
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
                senders.append(sock)
        known: set[str] = set()
        wanted, began, sent = list(targets), monotonic(), 0
        message = _PROBE.format(id=escape(str(uuid.uuid4()))).encode()
        while (passed := monotonic() - began) < timeout_s:
            if passed >= sent * REPEAT_S and sent < 2:
                _send(senders, wanted, message)
                sent += 1
            next_s = sent * REPEAT_S if sent < 2 else timeout_s
            ready = select.select(senders, [], [], max(0.0, min(next_s, timeout_s) - passed))[0]
            for sock in ready:
                with contextlib.suppress(OSError):
                    data, (peer, _) = sock.recvfrom(65_536)
                    for device in read_answer(data, peer):
                        if (key := device.endpoint or device.addresses[0]) not in known:
                            known.add(key)
                            yield device


def _send(senders: list[socket.socket], targets: list[tuple[str, int]], message: bytes) -> None:
    for address, port in targets:
        is_multicast = 224 <= int(address.split(".", 1)[0]) < 240 if address[:1].isdigit() else False
        for sock in senders if is_multicast else senders[:1]:
            with contextlib.suppress(OSError):
                sock.sendto(message, (address, port))


def interface_addresses() -> list[str]:
    """Return the IPv4 addresses of this host's interfaces; ``0.0.0.0`` where they cannot be listed."""
    try:
        from fcntl import ioctl
    except ImportError:
        return ["0.0.0.0"]
    found = ["0.0.0.0"]  # the default route's, and single hosts behind any
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                answer = ioctl(sock.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                found.append(socket.inet_ntoa(answer[20:24]))
    return found


def _content(text: str, name: str) -> str:
    """Text between the first tags of a local name."""
    found = re.search(rf"<(?:[\w.-]+:)?{name}(?:\s[^>]*)?>(.*?)(?:</(?:[\w.-]+:)?{name}>|$)", text, re.DOTALL)
    return "" if found is None else found[1].strip().replace("&amp;", "&")
