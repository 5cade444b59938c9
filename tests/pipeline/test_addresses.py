"""Logins: any letters beside the URL, and a clear word where they end a URL too early."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.demo.rtsp.session import Credentials
from facegate.errors import ConfigError, SourceError
from facegate.pipeline.addresses import login_problem, redact, with_login
from facegate.pipeline.config import build_config, config_for
from facegate.pipeline.sources.network import NetworkSource

from .sources.test_sources import cam, read_all

HARD = "p@ss/w#rd?50% :é&+"


@pytest.mark.parametrize("digest", [True, False])
def test_a_password_of_any_letters_opens_the_door(short_clip: Path, tmp_path: Path, digest: bool) -> None:
    with RtspServer(Movie(short_clip), credentials=Credentials("us", HARD), digest=digest) as server:
        assert len(read_all(NetworkSource(cam(server.url, user="us", password=HARD)))) == 50
        (tmp_path / "secret").write_text(HARD + "\n")
        assert len(read_all(NetworkSource(cam(server.url, user="us", password_file=tmp_path / "secret")))) == 50


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("rtsp://me:p@ss@host/x", "write @ as %40"),
        ("rtsp://me:pa/ss@host:554/x", "write / as %2F"),
        ("rtsp://me:pa#ss@host/x", "write # as %23"),
        ("rtsp://me:pa?s/s@host/x", "write / as %2F and ? as %3F"),
        ("rtsp://me:50%@host/x", "write % as %25"),
    ],
)
def test_a_password_that_ends_the_url_is_told_with_how_to_write_it(url: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_for(url)
    assert words in str(caught.value) and "or set 'user' and 'password' instead" in str(caught.value)
    assert redact(str(caught.value)) == str(caught.value) and ":pa" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://host:554/a@b",
        "rtsp://me:x@host/a?b=c@d",
        "rtsp://[::1]:554/x@y",
        "rtsp://me:p%40ss@host/x",
        "rtsp://host/x",
        "clip@home.mp4",
    ],
)
def test_what_is_a_url_is_let_pass(url: str) -> None:
    assert login_problem(url) is None


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20))
def test_an_encoded_login_is_never_a_problem_and_never_shown(password: str) -> None:
    url = with_login("rtsp://host:554/live", "me", password)
    assert login_problem(url) is None and redact(url) == "rtsp://***@host:554/live"


def test_a_login_is_given_once_and_whole(tmp_path: Path) -> None:
    for settings, words in (
        ({"user": "a", "password": "b", "source": "rtsp://c:d@host/x"}, "in the URL and in 'user'"),
        ({"password": "topsecret"}, "password needs 'user'"),
        ({"user": "a", "password": "b", "password_file": "f"}, "cannot be combined"),
        ({"user": "a", "source": "clip.mp4"}, "needs a source that is a URL"),
        ({"user": "a", "password": "top\nsecret"}, "cameras[0].password"),
    ):
        with pytest.raises(ConfigError) as caught:
            build_config({"cameras": [{"name": "a", "source": "rtsp://host/x"} | settings]})
        assert words in str(caught.value) and "secret" not in str(caught.value)
    with pytest.raises(SourceError, match=r"cannot read password_file .*none: no such file"):
        read_all(NetworkSource(cam("rtsp://host/x", user="a", password_file=tmp_path / "none")))


def test_a_camera_that_cannot_be_opened_hints_at_its_password() -> None:
    with pytest.raises(SourceError, match="set a password that contains / \\? # or @ with 'user' and 'password'"):
        read_all(NetworkSource(cam("rtsp://me:12/34@127.0.0.1:9/x", timeout_s=1)))
