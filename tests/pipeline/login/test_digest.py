"""Logins by the examples of the RFCs."""

from __future__ import annotations

import pytest

from facegate.pipeline.login.digest import authorization, parse_challenges, strongest

# RFC 7616, 3.9.1
OFFERED = [
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"',
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"',
]
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
RESPONSES = {
    "MD5": "8ca523f5e9506fed4657c9700eebdbec",
    "SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
}


@pytest.mark.parametrize("algorithm", RESPONSES)
def test_the_examples_of_the_rfc_are_answered_as_there(algorithm: str) -> None:
    for offered in (OFFERED, [", ".join(OFFERED)]):
        (challenge,) = [each for each in parse_challenges(offered) if each.algorithm == algorithm]
        told = authorization(challenge, "GET", "/dir/index.html", "Mufasa", "Circle of Life", cnonce=CNONCE)
        assert f'response="{RESPONSES[algorithm]}"' in told and f"algorithm={algorithm}" in told
        assert "qop=auth, nc=00000001" in told and 'opaque="FQhe' in told


def test_user_names_are_hashed_where_the_server_asks() -> None:
    (challenge,) = parse_challenges(
        ['Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, nonce="x", userhash=true']
    )
    told = authorization(challenge, "GET", "/doe.json", "J\u00e4s\u00f8n Doe", "Secret", cnonce="y")
    assert 'username="793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"' in told  # RFC 7616, 3.9.2


def test_the_strongest_of_several_challenges_is_answered() -> None:
    challenges = parse_challenges(
        ['Basic realm="a, b"', *reversed(OFFERED), 'Digest realm="x", algorithm=WHIRLPOOL']
    )
    assert [each.strength for each in challenges] == [0, 1, 2, -1]
    assert strongest(challenges) == challenges[2]
    assert strongest([]) is None
