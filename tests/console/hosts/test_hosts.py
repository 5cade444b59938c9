"""One console shows the others: their state, their visits, their pages; also while some are away."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from facegate.console.hosts.peers import read_peers
from facegate.console.security.accounts import Accounts, Role
from facegate.demo.clip import DemoClip
from facegate.errors import ConfigError
from facegate.store.writer import StoreWriter

from ...helpers import facegate, free_port
from ..serving import Served, served
from ..visits.crafted import CraftedVisit, craft, faces

pytestmark = pytest.mark.console
NOW = time.time()


def token(data: Path, role: Role, file: Path) -> None:
    with Accounts(data / "accounts.db", create=True) as accounts:
        accounts.set_password("ada", "a long password", "administrator")
        file.write_text(accounts.create_token("the other console", role, time.time())[1] + "\n")


@pytest.fixture(scope="module")
def consoles(tmp_path_factory: pytest.TempPathFactory, clip: DemoClip) -> Iterator[tuple[Served, Served]]:
    """This console, and that of the yard; a third host is never there."""
    folder = tmp_path_factory.mktemp("hosts")
    own, yard = folder / "own", folder / "yard"
    for data, name, offset in ((own, "Ada", 0.0), (yard, "Bo", 5.0)):
        data.mkdir()
        StoreWriter(data / "store.db", create=True).close()
        craft(
            data / "store.db",
            [CraftedVisit(i, NOW - 1000 + 10 * i + offset, f"{name} {i}", "door") for i in range(6)],
            faces(clip),
        )
    token(yard, "administrator", folder / "yard.token")
    with served(yard) as there:
        hosts = folder / "hosts.yaml"
        hosts.write_text(
            f"yard: {{url: 'http://127.0.0.1:{there.port}', token_file: yard.token}}\n"
            f"gone: {{url: 'http://127.0.0.1:{free_port()}', token_file: yard.token}}\n"
        )
        with served(own, "--peers", hosts) as here:
            yield here, there


def test_every_host_is_listed_and_who_is_away_says_why(consoles: tuple[Served, Served]) -> None:
    here, _ = consoles
    found = {host["name"]: host for host in here.get("/hosts")}
    assert set(found) == {"", "yard", "gone"}
    assert found[""]["ok"] and found["yard"]["ok"] and not found["gone"]["ok"]
    assert "host gone cannot be reached" in found["gone"]["problem"]


def test_visits_of_all_hosts_are_one_list_page_by_page(consoles: tuple[Served, Served]) -> None:
    here, _ = consoles
    names: list[str] = []
    after = ""
    for _ in range(6):
        page = here.get(f"/hosts/visits?limit=4{after}")
        assert list(page["away"]) == ["gone"]
        names += [found["visit"]["name"] for found in page["visits"]]
        if not page["visits"]:
            break
        after = f"&after={page['next']}"
    expected = [f"{name} {i}" for i in reversed(range(6)) for name in ("Bo", "Ada")]
    assert names == expected, "newest first, each once"
    one = here.get("/hosts/visits?name=Bo%203")["visits"]
    assert [(found["host"], found["visit"]["name"]) for found in one] == [("yard", "Bo 3")]
    refused = here.api("GET", "/hosts/visits?after=nonsense")
    assert refused.status == 422 and refused.json()["remedy"]


def test_pages_and_api_of_a_host_are_answered_by_it(consoles: tuple[Served, Served]) -> None:
    here, there = consoles
    visits = here.ask("GET", "/hosts/yard/api/v1/visits").json()["visits"]
    assert [visit["name"] for visit in visits] == [f"Bo {i}" for i in reversed(range(6))]
    crop = here.ask("GET", f"/hosts/yard/api/v1/shots/{visits[0]['best']}/crop.jpg")
    assert crop.status == 200 and crop.headers["content-type"] == "image/jpeg" and crop.body[:2] == b"\xff\xd8"
    added = here.ask("POST", "/hosts/yard/api/v1/cameras", {"name": "gate", "source": "rtsp://127.0.0.1:1/x"})
    assert added.status == 201, added.body
    assert there.api("GET", "/cameras").status == 401
    assert [camera["name"] for camera in here.ask("GET", "/hosts/yard/api/v1/cameras").json()["cameras"]] == [
        "gate"
    ]
    assert here.get("/cameras")["cameras"] == []
    page = here.ask("GET", "/hosts/yard/visits")
    assert page.status == 200 and "set-cookie" not in page.headers and b"facegate \xc2\xb7 yard" in page.body
    assert here.ask("GET", "/hosts/none/live").status == 404
    away = here.ask("GET", "/hosts/gone/api/v1/visits")
    assert away.status == 502 and away.json()["code"] == "host_unavailable"
    for path in ("/hosts/yard/../../secret", "/hosts/yard//127.0.0.1/x", "/hosts/yard/http://127.0.0.1/x"):
        assert here.ask("GET", path).status in (404, 303, 307), path


def test_a_viewer_here_is_a_viewer_there(tmp_path: Path, consoles: tuple[Served, Served]) -> None:
    here, there = consoles
    data, hosts = tmp_path / "data", tmp_path / "hosts.yaml"
    data.mkdir()
    token(data, "viewer", tmp_path / "viewer")
    yard = here.data.parent / "yard.token"
    hosts.write_text(f"yard: {{url: 'http://127.0.0.1:{there.port}', token_file: '{yard}'}}\n")
    with served(data, "--peers", hosts) as console:
        told = {"Authorization": f"Bearer {(tmp_path / 'viewer').read_text().strip()}"}
        assert console.ask("GET", "/hosts/yard/api/v1/visits", headers=told).status == 200
        assert console.ask("GET", "/hosts/yard/api/v1/session", headers=told).json()["role"] == "viewer"
        assert console.ask("DELETE", "/hosts/yard/api/v1/cameras/gate", headers=told).status == 403
        unknown = console.ask("GET", "/hosts/yard/api/v1/visits")
        assert unknown.status == 303 and unknown.headers["location"].startswith("../../../../login")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_leads_to_every_host(page: Page, consoles: tuple[Served, Served], width: int, scheme: str) -> None:
    here, _ = consoles
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 860})
    page.goto(f"{here.url}/hosts")
    expect(page.get_by_role("row").filter(has_text="gone")).to_contain_text("cannot be reached")
    expect(page.get_by_role("row").filter(has_text="yard")).to_contain_text("answers")
    expect(page.get_by_role("status").filter(has_text="missing")).to_contain_text("Visits of 1 host are missing")
    cards = page.get_by_role("list", name="Visits").get_by_role("link")
    expect(cards).to_have_count(12)
    expect(cards.first).to_contain_text("Bo 5")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    serious = [each for each in Axe().run(page)["violations"] if each["impact"] in ("serious", "critical")]
    assert not serious, serious
    cards.first.click()
    expect(page).to_have_url(f"{here.url}/hosts/yard/visits/run/door/5")
    expect(page.get_by_role("link", name="facegate · yard")).to_be_visible()
    page.get_by_role("link", name="Visits", exact=True).click()
    expect(page.get_by_text("Bo 3")).to_be_visible()
    page.get_by_role("link", name="All hosts").click()
    expect(page).to_have_url(f"{here.url}/hosts")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("yard: {url: 'http://10.0.0.9:1', token_file: t}", "is not encrypted"),
        ("yard: {url: 'https://a:b@h', token_file: t}", "without a login"),
        ("yard: {url: 'https://h', token_file: none}", "cannot read token_file"),
        ("'a b': {url: 'https://h', token_file: t}", "the name must be"),
        ("yard: {url: 'https://h'}", "invalid hosts file"),
        ("yard: {url: 'https://h', token_file: empty}", "holds no token"),
    ],
)
def test_wrong_hosts_are_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "t").write_text("fgt_x\n")
    (tmp_path / "empty").write_text("\n")
    path = tmp_path / "hosts.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=words):
        read_peers(path)
    found = facegate("serve", "--data", tmp_path / "data", "--peers", path)
    assert found.returncode == 2 and words in found.stderr and found.stderr.count("\n") == 1
    assert "fgt_x" not in json.dumps(found.stderr)
