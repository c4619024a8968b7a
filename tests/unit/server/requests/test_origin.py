from __future__ import annotations

import pytest

from mycelia.errors import Forbidden
from mycelia.protocol.http.request import Handshake, Headers
from mycelia.server.requests.origin import OriginRules

OURS, LISTED, EVIL = "http://here.example", "https://app.example", "https://evil.example"


def request(method: str, *headers: tuple[str, str]) -> Handshake:
    return Handshake(method, "/", Headers([("host", "here.example"), *headers]))


def forbids(origins: OriginRules, asked: Handshake) -> bool:
    try:
        origins.check(asked)
    except Forbidden:
        return True
    return False


@pytest.mark.parametrize(
    ("method", "origin", "forbidden"),
    [
        ("POST", None, False),
        ("POST", OURS, False),
        ("POST", LISTED, False),
        ("POST", EVIL, True),
        ("POST", "null", True),
        ("DELETE", EVIL, True),
        ("BREW", EVIL, True),
        ("GET", EVIL, False),
        ("HEAD", EVIL, False),
        ("OPTIONS", EVIL, False),
    ],
)
def test_which_pages_may_change_something(method: str, origin: str | None, forbidden: bool) -> None:
    headers = [] if origin is None else [("origin", origin)]
    assert forbids(OriginRules([LISTED]), request(method, *headers)) is forbidden


@pytest.mark.parametrize(
    ("method", "headers", "count"),
    [
        ("POST", [], False),
        ("POST", [("origin", OURS)], True),
        ("POST", [("origin", LISTED)], True),
        ("POST", [("origin", EVIL)], False),
        ("POST", [("origin", "null")], False),
        ("POST", [("sec-fetch-site", "same-origin")], False),
        ("GET", [], True),
        ("GET", [("origin", OURS)], True),
        ("GET", [("origin", EVIL)], False),
        ("GET", [("origin", "null")], False),
        ("GET", [("sec-fetch-site", "same-origin")], True),
        ("GET", [("sec-fetch-site", "none")], True),
        ("GET", [("sec-fetch-site", "same-site")], False),
        ("GET", [("sec-fetch-site", "cross-site")], False),
        ("GET", [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none")], False),
    ],
)
def test_where_cookies_count(method: str, headers: list[tuple[str, str]], count: bool) -> None:
    assert OriginRules([LISTED]).cookies_count(request(method, *headers)) is count


def test_a_star_is_for_pages_and_not_for_cookies() -> None:
    origins = OriginRules(["*"])
    asked = request("POST", ("origin", EVIL))
    assert not forbids(origins, asked) and not origins.cookies_count(asked)
    shown = dict(origins.headers(asked))
    assert shown["access-control-allow-origin"] == EVIL
    assert "access-control-allow-credentials" not in shown


def test_what_lets_a_page_read() -> None:
    origins = OriginRules([LISTED])
    shown = dict(origins.headers(request("GET", ("origin", LISTED))))
    assert shown["access-control-allow-origin"] == LISTED
    assert shown["access-control-allow-credentials"] == "true"
    assert shown["vary"] == "Origin"
    for other in ([("origin", EVIL)], []):
        assert dict(origins.headers(request("GET", *other))) == {"vary": "Origin"}
    assert OriginRules([]).headers(request("GET", ("origin", LISTED))) == ()


def test_a_browser_asks_before_a_page_does() -> None:
    asked = (("origin", LISTED), ("access-control-request-method", "PUT"))
    reply = OriginRules([LISTED]).options(request("OPTIONS", *asked), ("PUT", "OPTIONS"))
    headers = dict(reply.headers)
    assert reply.status == 204
    assert headers["access-control-allow-methods"] == headers["allow"] == "PUT, OPTIONS"
    assert "Authorization" in headers["access-control-allow-headers"]
    for other in (OriginRules([]), OriginRules(["https://else.example"])):
        assert other.options(request("OPTIONS", *asked), ("PUT",)).headers == (("allow", "PUT"),)
