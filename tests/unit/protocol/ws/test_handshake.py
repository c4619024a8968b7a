"""The opening handshake: real requests of real clients, and a table of bad ones."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.protocol.http.credentials import choose_subprotocol, credentials, public_view
from mycelia.protocol.http.origin import origin_allowed
from mycelia.protocol.http.request import (
    HEAD_LIMIT_BYTES,
    HEADER_LIMIT,
    BadHandshake,
    Handshake,
    Headers,
    HttpReply,
    read_request,
    redact,
)
from mycelia.protocol.ws.handshake import accept_response, check_subprotocols, check_upgrade

VECTORS = Path(__file__).parents[3] / "vectors" / "handshakes"
REAL = {path.stem: path.read_bytes() for path in sorted(VECTORS.glob("*.http"))}
BAD = json.loads((VECTORS / "bad.json").read_text())
REMOTE = ("203.0.113.7", 40000)


def parse(data: bytes, *, secure: bool = False) -> Handshake:
    found = read_request(data, REMOTE, secure)
    assert found is not None
    return found[0]


def request(*lines: str, target: str = "/ws", secure: bool = False) -> Handshake:
    pairs = [tuple(line.split(": ", 1)) for line in lines]
    return Handshake("GET", target, Headers([(name, value) for name, value in pairs]), REMOTE, secure)


def refused(data: bytes) -> BadHandshake:
    with pytest.raises(BadHandshake) as caught:
        check_upgrade(parse(data))
    return caught.value


# --- what real clients send -----------------------------------------------------------------------


@pytest.mark.parametrize("name", REAL)
def test_real_clients_are_let_in(name: str) -> None:
    found = read_request(REAL[name] + b"\x81\x85rest", REMOTE, False)
    assert found is not None
    handshake, size = found
    assert size == len(REAL[name])
    assert handshake.path == "/ws"
    assert handshake.is_upgrade
    assert handshake.host == handshake.headers.get("Host")
    assert handshake.remote == REMOTE
    check_upgrade(handshake)
    assert origin_allowed(handshake)
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n" in accept_response(handshake)


@pytest.mark.parametrize("name", REAL)
def test_a_head_may_come_in_any_pieces(name: str) -> None:
    data = REAL[name]
    for end in range(len(data)):
        assert read_request(data[:end], REMOTE, False) is None
    assert read_request(bytearray(data), REMOTE, False) == read_request(data, REMOTE, False)


@pytest.mark.parametrize("name", REAL)
def test_no_view_of_a_handshake_but_token_holds_the_token(name: str) -> None:
    handshake = parse(REAL[name])
    view = public_view(handshake)
    token = view.pop("token")
    assert token == ("secret-token" if name in ("curl", "chromium", "node-ws") else None)
    assert set(view) == {"query", "headers", "remoteAddress", "url"}
    for shown in (repr(view), repr(handshake), repr(handshake.headers), redact(handshake.target)):
        assert "secret-token" not in shown
        assert "c2VjcmV0LXRva2Vu" not in shown
        assert "s3cr3t" not in shown


def test_the_connect_body_of_a_browser() -> None:
    view = public_view(parse(REAL["chromium"]))
    assert view["query"] == {"room": "1", "lang": "de"}
    assert view["url"] == "/ws?room=1&lang=de"
    assert view["remoteAddress"] == "203.0.113.7"
    headers = view["headers"]
    assert isinstance(headers, dict)
    assert headers["sec-websocket-protocol"] == "mycelia.v1.msgpack"
    assert headers["origin"] == "http://localhost:8080"
    assert "cookie" not in headers


def test_the_example_of_the_rfc() -> None:  # RFC 6455 §1.3
    handshake = request("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: chat, superchat")
    assert accept_response(handshake, "chat", (("X-Node", "a"),)) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"Sec-WebSocket-Protocol: chat\r\nX-Node: a\r\n\r\n"
    )


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", BAD, ids=[case["name"] for case in BAD])
def test_bad_requests(case: dict[str, object]) -> None:
    data = str(case["request"]).encode("latin-1")
    fault = refused(data)
    assert fault.reply.status == case["status"]
    assert str(case["says"]) in fault.reply.body.decode()
    assert dict(fault.reply.headers) == case["headers"]
    fault.reply.encode()


def test_too_many_header_lines() -> None:
    def head(count: int) -> bytes:
        return b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * (count - 1) + b"\r\n"

    assert len(parse(head(HEADER_LIMIT)).headers) == HEADER_LIMIT
    assert refused(head(HEADER_LIMIT + 1)).reply.status == 431


def test_too_long_a_head() -> None:
    def head(size: int) -> bytes:
        start = b"GET / HTTP/1.1\r\nHost: h\r\nA: "
        return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"

    assert read_request(head(HEAD_LIMIT_BYTES), None, False) is not None
    assert refused(head(HEAD_LIMIT_BYTES + 1)).reply.status == 431
    assert refused(head(HEAD_LIMIT_BYTES + 9)[:HEAD_LIMIT_BYTES]).reply.status == 431
    assert read_request(head(HEAD_LIMIT_BYTES)[:-1], None, False) is None


def test_nothing_is_not_yet_wrong() -> None:
    assert read_request(b"", REMOTE, False) is None


@pytest.mark.parametrize(
    ("target", "path"),
    [("http://h/a?b", "/a?b"), ("HTTPS://H/a", "/a"), ("http://h", "/"), ("http://h?x", "/?x")],
)
def test_the_absolute_form_of_our_own_host(target: str, path: str) -> None:  # RFC 9112 §3.2.2
    assert parse(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode()).target == path


def test_no_refusal_shows_what_was_sent() -> None:
    lines = "Host: h\r\nAuthorization: Bearer hunter2\r\nUpgrade: hunter2\r\nSec-WebSocket-Key: hunter2"
    fault = refused(f"GET /ws?token=hunter2 HTTP/1.1\r\n{lines}\r\n\r\n".encode())
    assert "hunter2" not in str(fault)
    assert b"hunter2" not in fault.reply.encode()


@given(st.binary(max_size=400))
def test_any_bytes_are_read_refused_or_awaited(data: bytes) -> None:
    for text in (data, b"GET /" + data, b"GET / HTTP/1.1\r\nHost: h\r\n" + data + b"\r\n\r\n"):
        try:
            found = read_request(text, None, False)
        except BadHandshake as fault:
            assert fault.reply.status in (400, 405, 413, 431, 505)
        else:
            if found is not None:
                origin_allowed(found[0], ("*",))
                public_view(found[0])


# --- headers and query ----------------------------------------------------------------------------


def test_headers_are_found_in_any_case() -> None:
    headers = Headers([("Host", "h"), ("X-A", "1"), ("x-a", "2")])
    assert headers.get("HOST") == "h"
    assert headers.get("X-a") == "1"
    assert headers.getall("x-A") == ["1", "2"]
    assert headers.get("absent") is None
    assert headers.get("absent", "d") == "d"
    assert headers.getall("absent") == []
    assert "HOST" in headers
    assert "absent" not in headers
    assert 1 not in headers
    assert list(headers) == ["Host", "X-A", "x-a"]
    assert headers.items() == (("Host", "h"), ("X-A", "1"), ("x-a", "2"))
    assert headers == Headers(headers.items())
    assert hash(headers) == hash(Headers(headers.items()))
    assert headers != Headers()


def test_query_is_decoded_and_the_last_wins() -> None:
    assert request(target="/ws?a=1&a=%C3%A9+b&c&=x&&d=e=f").query == {
        "a": "é b",
        "c": "",
        "": "x",
        "d": "e=f",
    }
    assert request().query == {}


def test_path_is_left_as_sent() -> None:
    assert request(target="/w%73?/x").path == "/w%73"


# --- replies --------------------------------------------------------------------------------------


def test_a_reply_is_encoded_for_get_and_head() -> None:
    reply = HttpReply(404, b"no\n", (("X-A", "1"),))
    head = (
        b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 3\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nX-A: 1\r\n\r\n"
    )
    assert reply.encode() == head + b"no\n"
    assert reply.encode(head_only=True) == head
    assert b"Content-Type" not in HttpReply(503).encode()


def test_a_reply_that_offers_an_upgrade_says_so_in_connection() -> None:  # RFC 9110 §7.8
    assert b"\r\nConnection: Upgrade, close\r\n" in HttpReply(426, b"", (("Upgrade", "websocket"),)).encode()


@pytest.mark.parametrize("header", [("A", "x\r\nB: y"), ("A", "x\ny"), ("A", "\0"), ("A B", "x"), ("", "x")])
def test_no_header_can_split_an_answer(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="expected a token"):
        HttpReply(400, b"", (header,)).encode()
    with pytest.raises(ValueError, match="expected a token"):
        accept_response(request(), None, (header,))


@pytest.mark.parametrize("name", ["Upgrade", "connection", "Sec-WebSocket-Accept", "Content-Length"])
def test_the_101_keeps_its_own_headers(name: str) -> None:
    with pytest.raises(ValueError, match="sets it itself"):
        accept_response(request(), None, ((name, "x"),))


@pytest.mark.parametrize("chosen", ["b", "mycelia.bearer.eA"])
def test_the_101_answers_only_what_was_offered_and_no_credential(chosen: str) -> None:
    with pytest.raises(ValueError, match="expected a subprotocol"):
        accept_response(request("Sec-WebSocket-Protocol: a, mycelia.bearer.eA"), chosen)


def test_empty_elements_of_lists_mean_nothing() -> None:  # RFC 9110 §5.6.1.2
    handshake = request(
        "Host: h", "Upgrade: ,websocket, ", "Connection: , ,keep-alive,,\tUpgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: ,a,, b,",
    )  # fmt: skip
    check_upgrade(handshake)
    check_subprotocols(handshake)
    assert handshake.subprotocols == ("a", "b")


# --- subprotocols and credentials -----------------------------------------------------------------

KNOWN = ("mycelia.v1.json", "mycelia.v1.msgpack")


def bearer(token: str) -> str:
    return "mycelia.bearer." + urlsafe_b64encode(token.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((), None),
        (("mycelia.v1.json",), "mycelia.v1.json"),
        (("mycelia.v1.msgpack", "mycelia.v1.json"), "mycelia.v1.msgpack"),
        (("chat", "mycelia.v1.json"), "mycelia.v1.json"),
        ((bearer("t"), "mycelia.v1.json"), "mycelia.v1.json"),
    ],
)
def test_the_clients_first_known_subprotocol_is_chosen(offered: tuple[str, ...], chosen: str | None) -> None:
    assert choose_subprotocol(offered, KNOWN) == chosen


@pytest.mark.parametrize(
    ("offered", "known", "says"),
    [
        (("chat",), KNOWN, "none of the offered"),
        (("chat",), (), "offer none"),
        (("MYCELIA.V1.JSON",), KNOWN, "none of the offered"),
        ((bearer("hunter2"),), KNOWN, "beside mycelia.bearer"),
        ((bearer("hunter2"),), (bearer("hunter2"),), "beside mycelia.bearer"),
        ((bearer("hunter2"), "chat"), KNOWN, "none of the offered"),
        ((bearer("a"), bearer("b"), "mycelia.v1.json"), KNOWN, "expected one"),
        (("mycelia.bearer.", "mycelia.v1.json"), KNOWN, "base64url"),
        (("mycelia.bearer.a", "mycelia.v1.json"), KNOWN, "base64url"),
        (("mycelia.bearer.eA==", "mycelia.v1.json"), KNOWN, "base64url"),
        (("mycelia.bearer._w", "mycelia.v1.json"), KNOWN, "base64url"),
    ],
)
def test_other_offers_are_refused(offered: tuple[str, ...], known: tuple[str, ...], says: str) -> None:
    with pytest.raises(BadHandshake) as caught:
        choose_subprotocol(offered, known)
    assert caught.value.reply.status == 400
    assert says in str(caught.value)
    if known is KNOWN:
        assert bearer("hunter2") not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "target", "token", "source"),
    [
        ((), "/ws", None, None),
        (("Authorization: Bearer a",), "/ws", "a", "authorization"),
        (("authorization: bearer  a ",), "/ws?token=b", "a", "authorization"),
        (("Authorization: Basic a",), "/ws", None, None),
        (("Authorization: Bearer",), "/ws", None, None),
        (("Authorization: Bearer a", "Authorization: Bearer b"), "/ws", None, None),
        ((), "/ws?x=1&token=a%20b", "a b", "query"),
        ((), "/ws?token=", None, None),
        ((f"Sec-WebSocket-Protocol: x, {bearer('é')}",), "/ws?token=b", "é", "subprotocol"),
        (("Sec-WebSocket-Protocol: x", f"Sec-WebSocket-Protocol: {bearer('t')}"), "/ws", "t", "subprotocol"),
        (("Sec-WebSocket-Protocol: mycelia.bearer.!",), "/ws", None, None),
    ],
)
def test_where_a_token_is_found(lines: tuple[str, ...], target: str, token: str | None, source: str | None) -> None:
    found = credentials(request(*lines, target=target))
    assert (found.token, found.source) == (token, source)
    assert token is None or f"{token!r}" not in repr(found)


@given(st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_token_travels_as_a_subprotocol(token: str) -> None:
    assert credentials(request(f"Sec-WebSocket-Protocol: a, {bearer(token)}")).token == token


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/ws", "/ws"),
        ("/ws?a=1", "/ws?a=1"),
        ("/ws?token=x", "/ws?token=***"),
        ("/ws?a=1&%74oken=x&b=2&token=y", "/ws?a=1&%74oken=***&b=2&token=***"),
        ("/ws?access_token=x&resumeToken=y&token", "/ws?access_token=***&resumeToken=***&token"),
    ],
)
def test_logs_hide_tokens(target: str, shown: str) -> None:
    assert redact(target) == shown


@pytest.mark.parametrize(
    ("target", "url", "query"),
    [
        ("/ws?token=x", "/ws", {}),
        ("/ws?a=%20&%74oken=x&token=y", "/ws?a=%20", {"a": " "}),
        ("/ws?", "/ws?", {}),
    ],
)
def test_the_token_is_taken_out_of_url_and_query(target: str, url: str, query: dict[str, str]) -> None:
    view = public_view(request("Host: h", "X-A: 1", "X-A: 2", target=target))
    assert (view["url"], view["query"]) == (url, query)
    assert view["headers"] == {"host": "h", "x-a": "1, 2"}


def test_a_bearer_that_is_alone_is_not_shown_as_an_offer() -> None:
    assert public_view(request(f"Sec-WebSocket-Protocol: {bearer('t')}"))["headers"] == {}


def test_without_an_address_there_is_none_to_show() -> None:
    assert public_view(Handshake("GET", "/ws", Headers()))["remoteAddress"] is None
