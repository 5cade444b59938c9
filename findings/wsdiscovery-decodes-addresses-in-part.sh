#!/usr/bin/env bash
# Packages: WSDiscovery==2.1.2
#
# Behavior: when WSDiscovery parses the answer of a camera, it replaces %20 by a space in scopes and also in
# XAddrs, and leaves every other escape as it is. The address of the device service so becomes one with a space in
# it, and a camera's name half decoded. And only the first text node of the element is read: with an XML comment in
# XAddrs, the comment's own text becomes the address, or the addresses after it are gone.
#
# Why it matters: ONVIF cameras announce their name as an escaped scope (onvif://www.onvif.org/name/...). A second,
# proper decoding of the result is harmless for "Front%20Door", but no caller can restore the URI that the camera
# sent, and an address with an escaped space does not work as it comes. Expected before the run: values as sent.
#
# Seen: http://192.0.2.7/device%20service -> "http://192.0.2.7/device service"; name/T%C3%BCr%201 -> "name/T%C3%BCr
# 1"; <!--new-->http://192.0.2.7/a -> ["new"]; http://192.0.2.7/a <!--v6--> http://[2001:db8::7]/a -> the first one
# only.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq WSDiscovery==2.1.2
"$T/venv/bin/python" - <<'EOF'
from wsdiscovery.message import parseSOAPMessage

ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
DISCOVERY = "http://schemas.xmlsoap.org/ws/2005/04/discovery"


def parsed(addresses: str, scopes: str = "onvif://www.onvif.org/type/video_encoder") -> tuple[list[str], list[str]]:
    message = (
        f'<?xml version="1.0" encoding="UTF-8"?><e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" '
        f'xmlns:a="{ADDRESSING}" xmlns:d="{DISCOVERY}"><e:Header><a:MessageID>urn:uuid:1</a:MessageID>'
        f"<a:RelatesTo>urn:uuid:2</a:RelatesTo><a:Action>{DISCOVERY}/ProbeMatches</a:Action></e:Header><e:Body>"
        f"<d:ProbeMatches><d:ProbeMatch><a:EndpointReference><a:Address>urn:uuid:3</a:Address></a:EndpointReference>"
        f"<d:Scopes>{scopes}</d:Scopes><d:XAddrs>{addresses}</d:XAddrs><d:MetadataVersion>1</d:MetadataVersion>"
        f"</d:ProbeMatch></d:ProbeMatches></e:Body></e:Envelope>"
    )
    (match,) = parseSOAPMessage(message.encode(), ("192.0.2.7", 3702)).getProbeResolveMatches()
    return match.getXAddrs(), [scope.getValue() for scope in match.getScopes()]


plain, _ = parsed("http://192.0.2.7/a\n  http://[2001:db8::7]/a")
assert plain == ["http://192.0.2.7/a", "http://[2001:db8::7]/a"]
escaped, _ = parsed("http://192.0.2.7/device%20service?x=%2F")
_, scopes = parsed("http://192.0.2.7/a", "onvif://www.onvif.org/name/T%C3%BCr%201")
comment, _ = parsed("<!--new-->http://192.0.2.7/a")
between, _ = parsed("http://192.0.2.7/a <!--v6--> http://[2001:db8::7]/a")
print(escaped, scopes, comment, between, sep="\n")
assert escaped == ["http://192.0.2.7/device service?x=%2F"]
assert scopes == ["onvif://www.onvif.org/name/T%C3%BCr 1"]
assert comment == ["new"] and between == ["http://192.0.2.7/a"]
EOF
