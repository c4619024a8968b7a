"""Plain requests that are judged as handshakes are."""

from __future__ import annotations

import pytest

from mycelia.protocol.http.origin import origin_allowed
from mycelia.protocol.http.request import Handshake, Headers
from mycelia.protocol.http.session_request import as_handshake, sent_headers, with_origin, without_offers
from mycelia.protocol.ws.handshake import check_upgrade


def request(**headers: str) -> Handshake:
    lines = [("host", "example.org"), *((name.replace("_", "-"), value) for name, value in headers.items())]
    return Handshake("GET", "/sockjs", Headers(lines))


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({}, None),
        ({"origin": "https://a", "sec_fetch_site": "same-origin"}, "https://a"),
        ({"sec_fetch_site": "none"}, None),
        ({"sec_fetch_site": "nonsense"}, None),
        ({"sec_fetch_site": "same-origin"}, "https://example.org"),
        ({"sec_fetch_site": "cross-site"}, "null"),
        ({"sec_fetch_site": "cross-site", "referer": "https://evil.example/page?x"}, "https://evil.example"),
        ({"sec_fetch_site": "same-site", "referer": "http://a.example.org:81/"}, "http://a.example.org:81"),
        ({"sec_fetch_site": "cross-site", "referer": "data:text/html,x"}, "null"),
        ({"sec_fetch_site": "cross-site", "referer": "http://[broken"}, "null"),
        ({"referer": "http://evil.example/page?x"}, "http://evil.example"),
        ({"referer": "about:blank"}, "null"),
        ({"sec_fetch_site": "none", "referer": "http://evil.example/"}, None),
    ],
)
def test_the_origin_of_a_request_that_names_none(headers: dict[str, str], origin: str | None) -> None:
    assert with_origin(request(**headers)).origin == origin


def test_only_pages_ask_for_scripts() -> None:
    assert with_origin(request(), script=True).origin == "null"
    assert with_origin(request(referer="http://example.org/a"), script=True).origin == "http://example.org"
    assert with_origin(request(sec_fetch_site="none"), script=True).origin is None


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("host", ["example.org", "example.org:8443"])
def test_ones_own_origin_is_allowed_behind_a_proxy_too(secure: bool, host: str) -> None:
    lines = [("host", host), ("sec-fetch-site", "same-origin")]
    made = with_origin(Handshake("GET", "/", Headers(lines), None, False))
    assert origin_allowed(Handshake("GET", "/", made.headers, None, secure), (), require=True)


def test_in_the_shape_of_a_handshake() -> None:
    asked = request(Upgrade="other", sec_websocket_protocol="mine", cookie="a=b")
    made = as_handshake(Handshake("POST", "/x?y", asked.headers, ("192.0.2.1", 5), True), "/ws?z", ("x-more", "1"))
    assert (made.method, made.target, made.remote, made.secure) == ("GET", "/ws?z", ("192.0.2.1", 5), True)
    assert made.headers.items() == (
        ("host", "example.org"),
        ("cookie", "a=b"),
        ("upgrade", "websocket"),
        ("x-more", "1"),
    )
    check_upgrade(made)


def test_offers_that_count_for_nothing() -> None:
    offering = Headers([("Sec-WebSocket-Extensions", "a"), ("Sec-WebSocket-Protocol", "b"), ("Accept", "c")])
    assert without_offers(offering).items() == (("Accept", "c"),)


@pytest.mark.parametrize(
    ("asked", "sent"), [("X-A, x-b", True), ("", False), ("a\r\nb: c", False), ("x" * 1025, False)]
)
def test_headers_that_a_page_may_send(asked: str, sent: bool) -> None:
    expected = (("Access-Control-Allow-Headers", asked),) if sent else ()
    assert sent_headers(request(access_control_request_headers=asked)) == expected
    assert sent_headers(request()) == ()
