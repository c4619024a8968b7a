"""URLs of SockJS, and what is answered without a session."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mycelia.protocol.http.request import Handshake, Headers
from mycelia.protocol.sockjs.endpoints import (
    Kind,
    Target,
    cors,
    find,
    framing,
    iframe,
    info,
    not_allowed,
    preflight,
    sticky,
)


def request(**headers: str) -> Handshake:
    lines = [("host", "example.org"), *((name.replace("_", "-"), value) for name, value in headers.items())]
    return Handshake("GET", "/sockjs", Headers(lines))


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", Target(Kind.GREETING)),
        ("/", Target(Kind.GREETING)),
        ("/info", Target(Kind.INFO)),
        ("/websocket", Target(Kind.RAW)),
        *((f"/iframe{each}.html", Target(Kind.IFRAME)) for each in ("", "-", "-a", "-0.1.2abc-dirty.2144")),
        ("/000/abc/websocket", Target(Kind.WEBSOCKET, "abc", "websocket")),
        ("/_/a%20b/xhr", Target(Kind.RECEIVE, "a%20b", "xhr")),
        ("/1/2/jsonp_send", Target(Kind.SEND, "2", "jsonp_send")),
        *((f"/1/2/{each}", Target(Kind.RECEIVE, "2", each)) for each in ("xhr_streaming", "eventsource", "htmlfile")),
        *(
            (each, None)
            for each in (
                "//", "/a", "/a/a", "/a/a/", "/IFRAME.HTML", "/iframe.htm", "/iframe-/.html", "/iframe", "/info/",
                "///xhr", "/a./a/xhr", "/a/a./xhr", "/a//xhr", "/a/b/c/xhr", "/a/b/other", f"/a/{'b' * 129}/xhr",
            )
        ),
    ],
)  # fmt: skip
def test_urls(path: str, target: Target | None) -> None:
    assert find(path) == target


@pytest.mark.parametrize(
    ("path", "allow"),
    [("/", "GET, HEAD"), ("/a/b/xhr", "OPTIONS, POST"), ("/a/b/jsonp", "OPTIONS, GET"), ("/a/b/websocket", "GET")],
)
def test_methods(path: str, allow: str) -> None:
    target = find(path)
    assert target is not None
    reply = not_allowed(target)
    assert (reply.status, reply.body, reply.headers) == (405, b"", (("Allow", allow),))


def test_info() -> None:
    reply = info(False, True, 2**32 - 1, request(origin="https://a"))
    told = json.loads(reply.body)
    assert told == {"websocket": False, "origins": ["*:*"], "cookie_needed": True, "entropy": 2**32 - 1}
    headers = dict(reply.headers)
    assert headers["Access-Control-Allow-Origin"] == "https://a"
    assert "no-store" in headers["Cache-Control"]


@pytest.mark.parametrize(
    ("asked", "echoed"),
    [("a, b, c", "a, b, c"), ("", None), ("a\tb", None), ("a;b", None), ("x" * 1025, None)],
)
def test_preflights(asked: str, echoed: str | None) -> None:
    reply = preflight(Target(Kind.SEND), request(origin="null", access_control_request_headers=asked))
    headers = dict(reply.headers)
    assert (reply.status, headers.get("Access-Control-Allow-Headers")) == (204, echoed)
    assert headers["Access-Control-Allow-Origin"] == "null"
    assert "max-age=31536000" in headers["Cache-Control"] and headers["Access-Control-Allow-Methods"] == "OPTIONS, POST"


def test_without_an_origin_nobody_else_may_read() -> None:
    assert cors(request()) == (("Vary", "Origin"),)


def test_the_iframe_is_kept_and_names_the_client() -> None:
    first = iframe('/s.js?a=1&b="', ["https://*.example.org", "*", "null"], request())
    headers = dict(first.headers)
    assert b'<script src="/s.js?a=1&amp;b=&quot;"></script>' in first.body
    assert headers["Content-Security-Policy"] == "frame-ancestors 'self' https://*.example.org"
    again = iframe('/s.js?a=1&b="', [], request(if_none_match=f'"x", {headers["ETag"]}'))
    assert (again.status, again.body) == (304, b"")
    assert dict(iframe("/other.js", [], request()).headers)["ETag"] != headers["ETag"]


def test_any_origin_is_none_that_may_show_our_pages() -> None:
    assert framing(["*"])[1] == "frame-ancestors 'self'"


@pytest.mark.parametrize(
    ("cookie", "value"),
    [
        ("JSESSIONID=abcdef", "abcdef"),
        ("a=b; JSESSIONID=x.node1", "x.node1"),
        ("XJSESSIONID=abc", "dummy"),
        ("JSESSIONID=", "dummy"),
        ("JSESSIONID=a\tb", "dummy"),
        (f"JSESSIONID={'a' * 257}", "dummy"),
    ],
)
def test_the_sticky_cookie_comes_back(cookie: str, value: str) -> None:
    assert sticky(request(cookie=cookie)) == ("Set-Cookie", f"JSESSIONID={value}; Path=/")
    assert sticky(request())[1] == "JSESSIONID=dummy; Path=/"


def test_over_tls_pages_of_other_sites_get_the_sticky_cookie_too() -> None:
    secure = replace(request(cookie="JSESSIONID=x.1"), secure=True)
    assert sticky(secure) == ("Set-Cookie", "JSESSIONID=x.1; Path=/; SameSite=None; Secure")
