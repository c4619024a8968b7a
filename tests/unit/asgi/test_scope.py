"""Scopes as handshakes, and answers as events."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from mycelia.asgi.scope import Event, answer, checked_path, encoded, path_of, read_scope, refuse
from mycelia.errors import InvalidPath
from mycelia.net.address import Proxies
from mycelia.protocol.http.request import BadHandshake, HttpReply
from mycelia.protocol.ws.handshake import check_upgrade
from tests.unit.transports.asgi_server import websocket_scope


@pytest.mark.parametrize(
    ("path", "root", "wanted"),
    [
        ("/ws", "", "/ws"),
        ("/live/ws", "/live", "/ws"),
        ("/live/ws", "/live/", "/ws"),
        ("/live", "/live", "/"),
        ("/ws", "/live", "/ws"),  # some who mount take the prefix off themselves
        ("/liver/ws", "/live", "/liver/ws"),
        ("", "", "/"),
        ("/grüße/a b", "", "/gr%C3%BC%C3%9Fe/a%20b"),
        ("/a%2Fb", "", "/a%252Fb"),
    ],
)
def test_the_path_is_that_below_the_mount(path: str, root: str, wanted: str) -> None:
    assert path_of({"path": path, "root_path": root}) == wanted


def test_a_scope_is_a_handshake() -> None:
    request = read_scope(websocket_scope(query_string=b"a=1&b=%20", scheme="wss", client=["2001:db8::1", 9]))
    assert (request.method, request.target, request.secure) == ("GET", "/ws?a=1&b=%20", True)
    assert (request.host, request.remote, dict(request.query)) == ("h", ("2001:db8::1", 9), {"a": "1", "b": " "})
    assert request.headers.lines("upgrade") == ("websocket",)


def test_what_the_server_kept_for_itself_is_not_missed() -> None:
    scope = websocket_scope(headers=[(b"host", b"h")], subprotocols=["mycelia.v1.json", "x"], client=None)
    request = read_scope(scope)
    check_upgrade(request)
    assert request.subprotocols == ("mycelia.v1.json", "x")
    assert request.is_upgrade and request.remote is None


def test_subprotocols_are_not_read_twice() -> None:
    headers = [(b"host", b"h"), (b"sec-websocket-protocol", b"a, b")]
    assert read_scope(websocket_scope(headers=headers, subprotocols=["a", "b"])).subprotocols == ("a", "b")


def test_a_handshake_stays_judged_behind_a_proxy() -> None:
    headers = [(b"host", b"h"), (b"x-forwarded-for", b"198.51.100.7")]
    request = Proxies(["192.0.2.0/24"]).unveil(read_scope(websocket_scope(headers=headers)))
    check_upgrade(request)
    assert request.remote == ("198.51.100.7", 0)


def test_a_plain_request_never_looks_like_a_handshake() -> None:
    request = read_scope({**websocket_scope(), "type": "http", "method": "GET", "scheme": "http"})
    assert not request.is_upgrade
    with pytest.raises(BadHandshake, match="426"):
        check_upgrade(request)


def test_another_path_may_stand_for_that_of_the_scope() -> None:
    assert read_scope(websocket_scope("/live/", query_string=b"a"), "/ws").target == "/ws?a"


def test_a_query_that_is_not_ascii_is_refused() -> None:
    with pytest.raises(BadHandshake, match="ASCII"):
        read_scope(websocket_scope(query_string=b"\xff"))


class Sent(list[Any]):
    async def send(self, event: Event) -> None:
        self.append(event)


REPLY = HttpReply(429, b"wait\n", (("Retry-After", "5"), ("Connection", "close"), ("Content-Type", "text/x")))


async def test_a_refusal_shows_its_reason_where_the_server_can() -> None:
    sent = Sent()
    await refuse(websocket_scope(), sent.send, REPLY)
    headers = [(b"content-length", b"5"), (b"retry-after", b"5"), (b"content-type", b"text/x")]
    assert sent == [
        {"type": "websocket.http.response.start", "status": 429, "headers": headers},
        {"type": "websocket.http.response.body", "body": b"wait\n", "more_body": False},
    ]


@pytest.mark.parametrize("extensions", [None, {}, {"other": {}}])
async def test_a_refusal_is_a_close_where_it_cannot(extensions: object) -> None:
    sent = Sent()
    await refuse(websocket_scope(extensions=extensions), sent.send, REPLY)
    assert [event["type"] for event in sent] == ["websocket.close"]


@pytest.mark.parametrize(("method", "body"), [("GET", b"no\n"), ("HEAD", b"")])
async def test_a_plain_request_is_answered(method: str, body: bytes) -> None:
    sent = Sent()
    await answer({"type": "http", "method": method}, sent.send, HttpReply(404, b"no\n"))
    headers = [(b"content-length", b"3"), (b"content-type", b"text/plain; charset=utf-8")]
    assert sent == [
        {"type": "http.response.start", "status": 404, "headers": headers},
        {"type": "http.response.body", "body": body, "more_body": False},
    ]


@pytest.mark.parametrize(("version", "status", "says"), [
    ("1.1", 413, True), ("1.0", 408, True), (None, 413, True),
    ("2", 413, False), ("3", 408, False), ("1.1", 404, False),
])  # fmt: skip
async def test_a_body_that_is_refused_is_not_read(version: str | None, status: int, says: bool) -> None:
    sent = Sent()
    scope = {"type": "http", "method": "POST", **({} if version is None else {"http_version": version})}
    await answer(scope, sent.send, HttpReply(status, b"no\n", (("Connection", "keep-alive"),)))
    found = [value for name, value in sent[0]["headers"] if name == b"connection"]
    assert found == ([b"close"] if says else [])


@pytest.mark.parametrize(
    ("raw", "good"),
    [
        (b"/a/b", True),
        (b"/%61/%C3%A9", True),
        (b"/a%25b", True),
        (b"/a%252Fb", True),
        (b"/a%2Fb", False),
        (b"/a%2fb", False),
        (b"/a%5Cb", False),
        (b"/a\\b", False),
        (b"/a%00", False),
        (b"/a%", False),
        (b"/a%4", False),
        (b"/a%zz", False),
        (b"/%ff", False),
        (b"/%c0%af", False),
        (b"/%ed%a0%80", False),
    ],
)
def test_a_path_that_could_be_read_in_two_ways_is_refused(raw: bytes, good: bool) -> None:
    path = unquote_to_bytes(raw).decode("utf-8", "replace")
    scope = {"path": path, "raw_path": raw}
    if good:
        assert checked_path(scope) == path and path_of(scope) == encoded(path)
        return
    with pytest.raises(InvalidPath):
        checked_path(scope)


def test_what_a_server_does_not_show_raw_is_judged_decoded() -> None:
    assert checked_path({"path": "/a b"}) == "/a b"
    for path in ("/a\0", "/a\\b"):
        with pytest.raises(InvalidPath):
            checked_path({"path": path})
