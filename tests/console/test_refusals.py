"""What somebody tries who should not: all of it against a console that runs, and nothing of it works."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from facegate.demo.clip import DemoClip

from ..helpers import PATIENCE_S, facegate, free_port
from .serving import Client, Served, served

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A console where one has to log in."""
    data: Path = tmp_path_factory.mktemp("locked") / "data"
    for name, options in (("ada", []), ("eve", ["--viewer"])):
        done = subprocess.run(
            [sys.executable, "-m", "facegate", "serve", "--data", str(data), "--set-password", name, *options],
            input=f"{PASSWORD} {name}\n",
            text=True,
            capture_output=True,
            check=True,
        )
        assert PASSWORD not in done.stdout + done.stderr
    with served(data) as console:
        yield console


def log_in(console: Client, name: str) -> str:
    answer = console.api("POST", "/session", {"name": name, "password": f"{PASSWORD} {name}"})
    assert answer.status == 200, answer.body
    cookie: str = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
    return cookie.split(";", maxsplit=1)[0]


@pytest.mark.parametrize(
    "path",
    [
        "/static/../pages.py",
        "/static/..%2f..%2fpages.py",
        "/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/api/v1/shots/..%2f..%2faccounts.db/crop.jpg",
        "/api/v1/visits/..%2f../x/1/face.jpg?face_id=..%2f..",
        "/..%2faccounts.db",
    ],
)
def test_no_path_leads_out(console: Served, path: str) -> None:
    answer = console.ask("GET", path)
    assert answer.status in (404, 422)
    assert b"root:" not in answer.body and b"SQLite" not in answer.body and b"import" not in answer.body


def test_another_name_or_page_is_refused(console: Served) -> None:
    assert console.api("GET", "/cameras", host="evil.example").status == 421
    assert console.api("GET", "/cameras", host="127.0.0.1.evil.example").status == 421
    assert console.api("GET", "/cameras", host="localhost:1").status == 200
    new = {"name": "x", "source": "rtsp://10.0.0.1/x"}
    for headers in (
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ):
        refused = console.api("POST", "/cameras", new, **headers)
        assert (refused.status, refused.json()["code"]) == (403, "cross_site")
    assert [camera["name"] for camera in console.get("/cameras")["cameras"]] == ["door"]


def test_pages_may_load_nothing_from_elsewhere(console: Served) -> None:
    for path in ("/live", "/api/docs", "/api/v1/cameras", "/nothing"):
        headers = console.ask("GET", path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
    page = console.ask("GET", "/live").body.decode()
    assert "http://" not in page and "https://" not in page and "style=" not in page and "<script>" not in page


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        ({"name": "x", "source": "/etc/passwd"}, "not a camera URL"),
        ({"name": "x", "source": "file:///etc/passwd"}, "not a camera URL"),
        ({"name": "x", "source": "0"}, "not a camera URL"),
        ({"name": "x", "source": "gopher://10.0.0.1/"}, "not a camera URL"),
        ({"name": "x", "source": "rtsp://10.0.0.1/x", "main_stream": "/etc/passwd"}, "not a camera URL"),
        ({"name": "x", "source": "rtsp://${HOME}/x"}, "${NAME}"),
        ({"name": "../x", "source": "rtsp://10.0.0.1/x"}, "name"),
        ({"name": "<script>", "source": "rtsp://10.0.0.1/x"}, "name"),
        ({"name": "x", "source": "rtsp://10.0.0.1/x", "password_file": "/etc/shadow"}, "password_file"),
        ({"name": "x", "source": "rtsp://10.0.0.1/x", "gate": {"state": "/etc"}}, "state"),
        ({"name": "x", "source": "rtsp://10.0.0.1/x", "gate": {"min_qualty": 3}}, "min_quality"),
        ({"name": "door", "source": "rtsp://10.0.0.1/x"}, "already exists"),
    ],
)
def test_a_camera_cannot_be_anything(console: Served, camera: dict[str, object], words: str) -> None:
    before = (console.data / "facegate.yaml").read_text()
    refused = console.api("POST", "/cameras", camera)
    assert refused.status in (409, 422)
    problem = refused.json()
    assert set(problem) == {"type", "title", "status", "detail", "code", "remedy"} and words in problem["detail"]
    assert (console.data / "facegate.yaml").read_text() == before


def test_uploads_are_bounded_and_have_to_be_pictures(console: Served) -> None:
    def upload(content: bytes) -> tuple[int, dict[str, str]]:
        answer = console.upload("/people/Ada/pictures", "files", content)
        return answer.status, answer.json()

    assert upload(b"no picture")[0] == 422
    assert upload(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")[0] == 422
    huge = bytes.fromhex("89504e470d0a1a0a0000000d49484452000186a0000186a00802000000")
    status, problem = upload(huge + bytes(100))
    assert status == 422 and ("pixels" in problem["detail"] or "not a readable picture" in problem["detail"])
    assert upload(bytes(9 * 2**20))[0] == 413
    assert upload(bytes(13 * 2**20))[0] == 413
    assert console.api("POST", "/cameras", {"name": "x" * 300_000, "source": "rtsp://x"}).status == 413
    assert console.ask("POST", "/api/v1/cameras", b"{", {"Content-Type": "application/json"}).status == 422
    assert console.get("/people") == []


def test_names_are_text_wherever_they_appear(console: Served) -> None:
    shot = console.get("/shots")["shots"][0]["shot_id"]
    name = "%3Cimg%20src=x%20onerror=alert(1)%3E"
    refused = console.api("POST", f"/people/{name}/shots", {"shot_id": shot})
    assert refused.status == 422 and "invalid name" in refused.json()["detail"]


def test_nothing_comes_without_a_login(locked: Served) -> None:
    schema = json.loads(locked.ask("GET", "/api/v1/openapi.json", headers={"Cookie": log_in(locked, "ada")}).body)
    for path, routes in schema["paths"].items():
        if path == "/api/v1/session":
            continue
        for method in routes:
            filled = path.replace("{row}", "1").replace("{track_id}", "1").replace("{cluster}", "1")
            answer = locked.ask(method.upper(), filled.replace("{token}", "1").replace("{", "").replace("}", ""))
            assert answer.status == 401, (method, path, answer.status)
            assert answer.json()["code"] == "login_required"
    page = locked.ask("GET", "/live")
    assert (page.status, page.headers["Location"]) == (303, "login")


def test_who_may_only_look_may_have_a_picture_scored(locked: Served, clip: DemoClip) -> None:
    portrait = sorted(clip.gallery.glob("*/1.png"))[0].read_bytes()
    assert locked.upload("/score", "picture", portrait).status == 401
    answer = locked.upload("/score", "picture", portrait, Cookie=log_in(locked, "eve"))
    assert answer.status == 200 and len(answer.json()["faces"]) == 1


def test_a_viewer_looks_and_changes_nothing(locked: Served) -> None:
    cookie = log_in(locked, "eve")
    assert locked.api("GET", "/cameras", cookie=cookie).status == 200
    assert locked.api("GET", "/tokens", cookie=cookie).status == 403
    for method, path in (
        ("POST", "/cameras"),
        ("DELETE", "/cameras/x"),
        ("POST", "/tokens"),
        ("DELETE", "/people/x"),
    ):
        answer = locked.api(method, path, {}, cookie=cookie)
        assert (answer.status, answer.json()["code"]) == (403, "forbidden")


def test_a_session_is_new_and_ends(locked: Served) -> None:
    planted = locked.api(
        "POST", "/session", {"name": "ada", "password": f"{PASSWORD} ada"}, cookie="facegate=planted-by-somebody"
    )
    cookie = planted.headers["Set-Cookie"].split(";")[0]
    assert "planted" not in cookie
    assert locked.api("GET", "/cameras", cookie="facegate=planted-by-somebody").status == 401
    assert locked.api("GET", "/session", cookie=cookie).json()["name"] == "ada"
    again = locked.api("POST", "/session", {"name": "ada", "password": f"{PASSWORD} ada"}, cookie=cookie)
    assert locked.api("GET", "/cameras", cookie=cookie).status == 401
    newer = again.headers["Set-Cookie"].split(";")[0]
    assert locked.api("DELETE", "/session", cookie=newer).status == 204
    assert locked.api("GET", "/cameras", cookie=newer).status == 401


def test_tokens_are_for_programs_and_can_be_revoked(locked: Served) -> None:
    cookie = log_in(locked, "ada")
    made = locked.api("POST", "/tokens", {"name": "script"}, cookie=cookie).json()
    own = {"authorization": f"Bearer {made['token']}"}
    assert locked.api("GET", "/cameras", **own).status == 200
    assert locked.api("POST", "/cameras", {"name": "x", "source": "rtsp://x"}, **own).status == 403
    listed = locked.api("GET", "/tokens", cookie=cookie)
    assert made["token"].encode() not in listed.body and listed.json()[0]["name"] == "script"
    kept = b"".join(file.read_bytes() for file in locked.data.glob("accounts.db*"))
    assert made["token"].encode() not in kept and cookie.split("=")[1].encode() not in kept
    assert locked.api("DELETE", f"/tokens/{made['id']}", cookie=cookie).status == 204
    assert locked.api("GET", "/cameras", **own).status == 401
    for guess in ("Bearer fgt_guess", "Bearer ", "Basic YTpi", "Bearer " + "x" * 5000):
        assert locked.api("GET", "/cameras", authorization=guess).status == 401


def test_who_guesses_waits(locked: Served) -> None:
    statuses = []
    for _ in range(5):
        answer = locked.api("POST", "/session", {"name": "mallory", "password": "guess guess guess"})
        statuses.append(answer.status)
    assert statuses[:3] == [401, 401, 401] and statuses[-1] == 429
    assert "seconds" in answer.json()["remedy"]


def test_a_cameras_password_is_nowhere_to_be_read(tmp_path: Path) -> None:
    with served(tmp_path / "data") as console:
        camera = {"name": "x", "source": "rtsp://127.0.0.1:9/x", "user": "me", "password": "s3cr3t&word"}
        assert console.api("POST", "/cameras", camera).status == 201
        inline = {"name": "y", "source": "rtsp://me:s3cr3t%26word@127.0.0.1:9/x"}
        assert console.api("POST", "/cameras", inline).status == 201
        console.until("/health", lambda found: found["lines"])
        bodies = [console.api("GET", path).body for path in ("/cameras", "/health", "/cameras/x/tracks")]
        bodies += [console.ask("GET", page).body for page in ("/cameras", "/health")]
        assert all(b"s3cr3t" not in body for body in bodies)
        assert "s3cr3t" not in console.log.read_text()
        config = (console.data / "facegate.yaml").read_text()
        assert "s3cr3t&word" not in config
        (kept,) = (console.data / "secrets" / "x").iterdir()
        assert kept.read_text() == "s3cr3t&word" and kept.stat().st_mode & 0o077 == 0
        # A change that is refused leaves the password as it was.
        wrong = {"password": "another one", "gate": {"min_qualty": 3}}
        assert console.api("PATCH", "/cameras/x", wrong).status == 422
        assert list((console.data / "secrets" / "x").iterdir()) == [kept] and str(kept) in config
        assert console.api("DELETE", "/cameras/x").status == 200
        assert not list((console.data / "secrets").iterdir())


def test_other_hosts_only_where_one_has_to_log_in(tmp_path: Path) -> None:
    refused = facegate("serve", "--data", tmp_path / "data", "--listen", f"0.0.0.0:{free_port()}")
    assert refused.returncode == 2 and "--set-password" in refused.stderr
    (tmp_path / "wrong.yaml").write_text("camera: []\n")
    for options, code, words in (
        (["--listen", "nowhere"], 2, "give HOST:PORT"),
        (["--certificate", "x.pem"], 2, "go together"),
        (["missing.yaml"], 2, "no such file"),
        ([tmp_path / "wrong.yaml"], 2, "did you mean"),
        (["--gallery", "people"], 1, "facegate gallery add"),
    ):
        done = facegate("serve", *options, "--data", tmp_path / "data")
        assert done.returncode == code and words in done.stderr and done.stderr.count("\n") == 1
    short = subprocess.run(
        [sys.executable, "-m", "facegate", "serve", "--data", tmp_path / "data", "--set-password", "ada"],
        input="short\n", text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert short.returncode == 2 and "10 to 200 characters" in short.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here to make a certificate with")
def test_a_certificate_makes_it_https_and_the_cookie_secure(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
         "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    data = tmp_path / "data"
    subprocess.run(
        [sys.executable, "-m", "facegate", "serve", "--data", data, "--set-password", "ada"],
        input=f"{PASSWORD}\n", text=True, capture_output=True, check=True,
    )  # fmt: skip
    trusting = ssl.create_default_context(cafile=str(certificate))
    with served(data, "--certificate", certificate, "--certificate-key", key, tls=trusting) as console:
        connection = HTTPSConnection("localhost", console.port, context=trusting, timeout=PATIENCE_S)
        body = json.dumps({"name": "ada", "password": PASSWORD})
        connection.request("POST", "/api/v1/session", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200 and "secure" in str(answer.headers["Set-Cookie"]).lower()
        connection.close()
    wrong = facegate(
        "serve", "--data", data, "--certificate", key, "--certificate-key", certificate, "--listen", "127.0.0.1:0"
    )
    assert wrong.returncode == 2 and "certificate or key cannot be used" in wrong.stderr
