"""Finds the cameras of a network and asks each what it offers, all within one time limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from ipaddress import ip_network
from time import monotonic
from urllib.parse import quote, urlsplit

from msgspec.structs import replace

from facegate.errors import ConfigError, SourceError
from facegate.pipeline.discovery.onvif import OnvifDevice
from facegate.pipeline.discovery.onvif_client import Login
from facegate.pipeline.discovery.records import FoundCamera, StreamProfile
from facegate.pipeline.discovery.vendor_paths import known_paths
from facegate.pipeline.discovery.ws_discovery import MULTICAST, ask
from facegate.pipeline.login.digest import UnauthorizedError

SERVICE = "/onvif/device_service"
MAX_HOSTS = 1024
WORKERS = 64
ANSWERS_SHARE = 0.4
"""Share of the time in which devices are still listened for; the rest is for asking those that answered last."""


def expand_hosts(texts: Iterable[str]) -> list[str]:
    """Return single hosts of ``HOST``, ``HOST:PORT`` and ``NETWORK/BITS``.

    Raises:
        ConfigError: a network is invalid, or too large.
    """
    found: list[str] = []
    for text in texts:
        try:
            found += [str(host) for host in ip_network(text, strict=False).hosts()] if "/" in text else [text]
        except ValueError as error:
            raise ConfigError(f"{text} is not a network: give HOST, HOST:PORT or 10.0.0.0/24") from error
        if len(found) > MAX_HOSTS:
            raise ConfigError(f"{text} has too many hosts: give at most {MAX_HOSTS}")
    return list(dict.fromkeys(found))


def discover(
    hosts: Iterable[str],
    login: Login | None,
    timeout_s: float,
    *,
    multicast: Iterable[tuple[str, int]] = (MULTICAST,),
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[FoundCamera]:
    """Find cameras by WS-Discovery and by a list of hosts.

    Multicast does not leave its network segment or a container; hosts elsewhere are asked directly.

    Args:
        hosts: see :func:`expand_hosts`.
        login: user and password for all of them.
        timeout_s: seconds for everything.
        multicast: addresses and ports that are asked for announcements; none leaves that out.
        now: the current time (UTC).

    Returns:
        By address; a device that did not say everything has a ``problem``. Hosts of a network where nothing answers
        are left out.
    """
    texts = list(hosts)
    listed = expand_hosts(texts)
    named = {text for text in texts if "/" not in text}
    deadline = monotonic() + timeout_s
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="facegate-discover")
    futures: dict[str, tuple[FoundCamera, Future[FoundCamera]]] = {}

    def ask_device(found: FoundCamera, url: str) -> None:
        if found.address not in futures:
            left_s = max(0.1, deadline - monotonic())
            futures[found.address] = found, pool.submit(_describe, found, url, login, left_s, now)

    for host in listed:
        ask_device(FoundCamera(host), f"http://{host}{SERVICE}")
    targets = list(multicast)
    if targets:
        for device in ask(targets, timeout_s * ANSWERS_SHARE):
            url = device.addresses[0]
            ask_device(FoundCamera(urlsplit(url).netloc, device.endpoint, model=device.model), url)
    wait([future for _, future in futures.values()], max(0.0, deadline - monotonic()))
    pool.shutdown(wait=False, cancel_futures=True)
    late = f"no complete answer within {timeout_s:g} s; raise --timeout"
    cameras = [
        future.result() if future.done() and not future.cancelled() else replace(found, problem=late)
        for _, (found, future) in sorted(futures.items())
    ]
    return [
        each for each in cameras if each.endpoint or each.address in named or each.problem is None or each.vendor
    ]


def _describe(
    found: FoundCamera, url: str, login: Login | None, timeout_s: float, now: Callable[[], datetime]
) -> FoundCamera:
    try:
        return OnvifDevice(url, login, timeout_s, now).describe(found)
    except UnauthorizedError as error:
        return replace(found, problem=str(error))
    except SourceError as error:
        return _by_path(found, login, timeout_s) or replace(found, problem=str(error))


def _by_path(found: FoundCamera, login: Login | None, timeout_s: float) -> FoundCamera | None:
    """Try the RTSP paths of vendors."""
    userinfo = "" if login is None else ":".join(quote(each, safe="") for each in login)
    try:
        for vendor, main, sub in known_paths(found.address, userinfo, timeout_s):
            return replace(
                found,
                vendor=vendor,
                main=StreamProfile(urlsplit(main).path, url=main),
                sub=None if sub is None else StreamProfile(urlsplit(sub).path, url=sub),
                problem=None,
            )
    except UnauthorizedError as error:
        return replace(found, problem=str(error))
    except OSError:
        pass
    return None
