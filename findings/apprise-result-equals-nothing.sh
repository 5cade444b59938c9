#!/usr/bin/env bash
# Packages: apprise==2.3.0
#
# Behavior: Apprise.notify() returns an AppriseResult, which has a truth value and no equality: a success is not ==
# True, a failure not == False, "no service has this tag" not None and not == None, and json.dumps() refuses it. A
# partial success (one service of two) is as falsy as a failure. bool() and .status are what is left to test.
#
# Why it matters: alarms for a recognized face go to several services by tags, and callers written for the True,
# False and None of Apprise 1 fail silently: "is False" never sees a failure, so the alarm is not repeated; "is
# None" never reports a tag without services; "== True" repeats every delivered alarm; and "if not result" repeats
# it at the service that has it already. Expected before the run: a subclass of int or an __eq__ that keeps such
# comparisons true.
#
# Seen: SUCCESS truthy, PARTIAL, FAILURE and NOMATCH falsy; all comparisons with True, False and None are False.
set -euo pipefail
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv"
"$T/venv/bin/pip" install -qq apprise==2.3.0
"$T/venv/bin/python" - <<'EOF'
import http.server
import json
import threading

import apprise


class Service(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(500 if "down" in self.path else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()


def notify(*paths: str, tag: str = "door"):
    sender = apprise.Apprise()
    for path in paths:
        assert sender.add(f"json://127.0.0.1:{server.server_port}/{path}", tag="door")
    return sender.notify(body="a face", tag=tag)


results = {
    "SUCCESS": notify("up"),
    "PARTIAL": notify("up", "down"),
    "FAILURE": notify("down"),
    "NOMATCH": notify("up", tag="garage"),
}
for status, result in results.items():
    compared = {str(other): result == other for other in (True, False, None)}
    print(f"{status}: bool {bool(result)}, equal to {compared}")
    assert result.status.name == status and bool(result) == (status == "SUCCESS")
    assert result is not None and not any(result == other for other in (True, False, None))
    try:
        json.dumps(result)
        raise SystemExit("can be written as JSON")
    except TypeError:
        pass
server.shutdown()
EOF
