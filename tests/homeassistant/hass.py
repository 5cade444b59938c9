"""Home Assistant as a process, with its REST and WebSocket API."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import shutil
import subprocess
import urllib.error
import urllib.request
from time import monotonic, sleep, time
from typing import Any

from websockets.sync.client import connect

from ..helpers import ROOT, free_port

INSTALLED = ROOT / "runs" / "homeassistant"
CONFIGURATION = """
homeassistant: {{name: Home, latitude: 0, longitude: 0, elevation: 0, time_zone: UTC, country: DE}}
http: {{server_host: 127.0.0.1, server_port: {port}}}
api:
config:
system_log:
logger: {{default: warning}}
"""
NOW = "2026-01-01T00:00:00+00:00"
OWNER, REFRESH = "0" * 32, "1" * 32
START_S = 180.0


class HomeAssistant:
    """A Home Assistant on loopback that asks nobody anything: an owner, a token, and MQTT set up."""

    def __init__(self, broker_port: int) -> None:
        self._root = INSTALLED / "root" if (INSTALLED / "root").is_dir() else None
        within = (self._root or INSTALLED) / "tmp"
        self.folder = within / f"facegate-{secrets.token_hex(4)}"
        store = self.folder / ".storage"
        store.mkdir(parents=True)
        self.port = free_port()
        self.url = f"127.0.0.1:{self.port}"
        (self.folder / "configuration.yaml").write_text(CONFIGURATION.format(port=self.port))
        key = secrets.token_hex(64)
        self.token = _token(key)
        for name, data, version, minor in (
            ("onboarding", {"done": ["user", "core_config", "integration", "analytics"]}, 4, 1),
            ("auth", _auth(key), 1, 1),
            # From its second start Home Assistant takes the port from here.
            ("http", {"server_host": ["127.0.0.1"], "server_port": self.port}, 1, 1),
            ("core.config_entries", {"entries": [_mqtt(broker_port)]}, 1, 5),
        ):
            record = {"version": version, "minor_version": minor, "key": name, "data": data}
            (store / name).write_text(json.dumps(record))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until the MQTT integration is connected."""
        if self._root is None:
            command = [str(INSTALLED / "venv" / "bin" / "python")]
            folder = str(self.folder)
        else:
            command = ["chroot", str(self._root), "/opt/venv/bin/python"]
            folder = "/" + str(self.folder.relative_to(self._root))
        log = (self.folder / "output.log").open("ab")
        self._process = subprocess.Popen(
            [*command, "-m", "homeassistant", "-c", folder, "--skip-pip"], stdout=log, stderr=log
        )
        wait_for(self._runs, "Home Assistant does not start", START_S, self.log)

    def stop(self) -> None:
        """End it as its service does."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def remove(self) -> None:
        """End it and delete its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """What it has written."""
        return (self.folder / "output.log").read_text(errors="replace")[-4000:]

    def states(self) -> dict[str, dict[str, Any]]:
        """Every entity's state, by entity id."""
        return {state["entity_id"]: state for state in self._get("/api/states")}

    def state(self, entity: str) -> str | None:
        """An entity's state; ``None`` where there is no such entity."""
        found = self.states().get(entity)
        return None if found is None else str(found["state"])

    def image(self, entity: str) -> bytes:
        """An image entity's picture."""
        token = self.states()[entity]["attributes"]["access_token"]
        with urllib.request.urlopen(
            f"http://{self.url}/api/image_proxy/{entity}?token={token}", timeout=20
        ) as answer:
            return bytes(answer.read())

    def devices(self) -> dict[str, dict[str, Any]]:
        """Devices of facegate, by name."""
        (found,) = self._ask("config/device_registry/list")
        return {device["name"]: device for device in found if device["manufacturer"] == "facegate"}

    def complaints(self) -> list[str]:
        """What it says of MQTT or of us in its log and its repairs."""
        log, repairs = self._ask("system_log/list", "repairs/list_issues")
        lines = [f"{line['level']} {line['name']}: {line['message']}" for line in log]
        lines += [f"repair {issue['domain']}: {issue['issue_id']}" for issue in repairs["issues"]]
        return [line for line in lines if "mqtt" in line.lower() or "facegate" in line.lower()]

    def _runs(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self.log()
        with contextlib.suppress(OSError, urllib.error.URLError, ValueError):
            return (
                self._get("/api/config")["state"] == "RUNNING" and "mqtt" in self._get("/api/config")["components"]
            )
        return False

    def _get(self, path: str) -> Any:
        request = urllib.request.Request(
            f"http://{self.url}{path}", headers={"Authorization": f"Bearer {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def _ask(self, *kinds: str) -> list[Any]:
        with connect(f"ws://{self.url}/api/websocket", max_size=None) as socket:
            socket.recv()
            socket.send(json.dumps({"type": "auth", "access_token": self.token}))
            socket.recv()
            answers = []
            for number, kind in enumerate(kinds, 1):
                socket.send(json.dumps({"id": number, "type": kind}))
                answers.append(json.loads(socket.recv())["result"])
            return answers


def wait_for(reached: Any, what: str, seconds: float = 90.0, more: Any = lambda: "") -> None:
    """Wait until something holds; the limit is far beyond what a slow machine needs."""
    deadline = monotonic() + seconds
    while not reached():
        assert monotonic() < deadline, f"{what}\n{more()}"
        sleep(0.25)


def _mqtt(port: int) -> dict[str, Any]:
    return {
        "entry_id": "01J00000000000000000000000", "version": 1, "minor_version": 2, "domain": "mqtt",
        "title": "broker", "data": {"broker": "127.0.0.1", "port": port},
        "options": {"discovery": True, "discovery_prefix": "homeassistant"}, "pref_disable_new_entities": False,
        "pref_disable_polling": False, "source": "user", "unique_id": None, "disabled_by": None,
        "created_at": NOW, "modified_at": NOW, "discovery_keys": {}, "subentries": [],
    }  # fmt: skip


def _auth(key: str) -> dict[str, Any]:
    return {
        "users": [{
            "id": OWNER, "group_ids": ["system-admin"], "is_owner": True, "is_active": True, "name": "Owner",
            "system_generated": False, "local_only": False,
        }],
        "groups": [
            {"id": "system-admin", "name": "Administrators"}, {"id": "system-users", "name": "Users"},
            {"id": "system-read-only", "name": "Read Only"},
        ],
        "credentials": [],
        "refresh_tokens": [{
            "id": REFRESH, "user_id": OWNER, "client_id": None, "client_name": "test", "client_icon": None,
            "token_type": "long_lived_access_token", "created_at": NOW, "access_token_expiration": 315360000.0,
            "token": secrets.token_hex(64), "jwt_key": key, "last_used_at": None, "last_used_ip": None,
            "expire_at": None, "credential_id": None, "version": "2026.11.0",
        }],
    }  # fmt: skip


def _token(key: str) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    now = int(time())
    said = part({"alg": "HS256", "typ": "JWT"}) + "." + part({"iss": REFRESH, "iat": now, "exp": now + 315_360_000})
    signature = hmac.new(key.encode(), said.encode(), hashlib.sha256).digest()
    return said + "." + base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
