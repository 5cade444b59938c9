#!/usr/bin/env bash
# Packages: av==18.1.0 (FFmpeg with libavformat 62.12), numpy==2.4.6
#
# Behavior: FFmpeg's RTSP client answers Digest with MD5 alone. To a camera that offers SHA-256 (RFC 7616) it sends no
# credentials at all, and reports 401. Of several challenges it takes the last: where MD5 comes before SHA-256, which is
# not the order of preference of the RFC, it does not log in either, though it could.
#
# Why it matters: cameras with newer firmware offer SHA-256. Right credentials look like wrong ones, and everything
# built on FFmpeg says "check user and password".
# Expected before the run: a login with SHA-256, or with MD5 where both are offered.
#
# Seen: MD5: an answer; SHA-256: none; MD5 then SHA-256: none; SHA-256 then MD5: an answer with MD5.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq av==18.1.0 numpy==2.4.6
"$T/venv/bin/python" - <<'EOF'
import socket
from threading import Thread

import av


def answered(*algorithms: str) -> list[str]:
    """Authorization headers of a client to which a server offers these algorithms."""
    told: list[str] = []
    offers = "".join(
        f'WWW-Authenticate: Digest realm="r", nonce="n", algorithm={name}, qop="auth"\r\n' for name in algorithms
    )

    def serve() -> None:
        with listener.accept()[0] as client:
            while head := client.recv(65536).decode():
                lines = head.split("\r\n")
                number = next(line for line in lines if line.startswith("CSeq"))
                told.extend(line for line in lines if line.startswith("Authorization"))
                options = head.startswith("OPTIONS")
                status = "200 OK\r\nPublic: DESCRIBE" if options else "401 Unauthorized"
                client.sendall(f"RTSP/1.0 {status}\r\n{number}\r\n{'' if options else offers}\r\n".encode())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=serve)
        thread.start()
        try:
            av.open(f"rtsp://user:password@127.0.0.1:{listener.getsockname()[1]}/x", timeout=5)
        except av.error.HTTPUnauthorizedError:
            pass
        thread.join()
    return told


kinds = {"MD5": ("MD5",), "SHA-256": ("SHA-256",), "both": ("MD5", "SHA-256"), "reversed": ("SHA-256", "MD5")}
found = {name: answered(*offered) for name, offered in kinds.items()}
for name, headers in found.items():
    print(name, "->", headers[:1] or "no credentials")
assert found["MD5"] and found["reversed"] and not found["SHA-256"] and not found["both"]
EOF
