"""Checks of the opening handshake (RFC 6455 §4.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mycelia.testing.engines.check import EngineCheck
from mycelia.testing.engines.harness import EngineHarness, expect, read_close
from mycelia.testing.raw_client import HandshakeResponse
from mycelia.transports.memory.socket import request_head

__all__ = ["CHECKS"]

# The request of Firefox, in which Upgrade is the second token of Connection.
_FIREFOX = (
    b"GET /ws?room=1 HTTP/1.1\r\n"
    b"Host: 127.0.0.1:8080\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: */*\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Origin: http://127.0.0.1:8080\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Connection: keep-alive, Upgrade\r\n"
    b"Sec-Fetch-Dest: empty\r\n"
    b"Sec-Fetch-Mode: websocket\r\n"
    b"Sec-Fetch-Site: same-origin\r\n"
    b"Pragma: no-cache\r\n"
    b"Cache-Control: no-cache\r\n"
    b"Upgrade: websocket\r\n\r\n"
)
_RIGHT = request_head("ws://h/ws")
_REJECTED: dict[str, tuple[bytes, int]] = {
    "a_path_that_is_not_served": (request_head("ws://h/other"), 404),
    "what_the_admit_handler_rejects": (request_head("ws://h/forbidden"), 403),
}
_PLAIN_HTTP = (b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 426)
_UNKNOWN = (request_head("ws://h/ws", (), ["other"]), 400)
_SUBPROTOCOLS = frozenset({"subprotocols"})
_BAD_HEADS: dict[str, tuple[bytes, int]] = {
    "another_version": (_RIGHT.replace(b"Version: 13", b"Version: 8"), 426),
    "no_upgrade_token_in_connection": (_RIGHT.replace(b"Connection: Upgrade", b"Connection: close"), 426),
    "a_missing_key": (_RIGHT.replace(b"Sec-WebSocket-Key", b"X-Key"), 400),
    "a_short_key": (request_head("ws://h/ws", {"Sec-WebSocket-Key": "c2hvcnQ="}), 400),
    "two_hosts": (_RIGHT.replace(b"Upgrade: websocket", b"Host: other\r\nUpgrade: websocket"), 400),
    "no_host": (_RIGHT.replace(b"Host: h\r\n", b""), 400),
    "another_method": (_RIGHT.replace(b"GET", b"POST"), 405),
    "old_http": (_RIGHT.replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
    "too_many_headers": (request_head("ws://h/ws", [(f"X-{n}", "1") for n in range(200)]), 431),
    "too_long_a_head": (request_head("ws://h/ws", {"X-Long": "x" * 20_000}), 431),
}


async def _answer(harness: EngineHarness, head: bytes) -> HandshakeResponse:
    client = await harness.dial()
    await client.send_head(head)
    answer = await client.answer()
    if answer is None:
        raise AssertionError("expected a response to the handshake, got the end of the connection")
    return answer


async def _accepts(harness: EngineHarness) -> None:
    await harness.start()
    answer = await _answer(harness, request_head("ws://h/ws?a=1&b=%20", {"X-Mine": "yes"}))
    expect("the status", answer.status, 101)
    if harness.can("headers"):
        expect("the header of the admit handler", answer.headers.get("x-engine"), "checked")
    expect("a subprotocol that was not offered", answer.headers.get("sec-websocket-protocol"), None)
    request = harness.peers[0].request
    expect("the path and the query", (request.path, dict(request.query)), ("/ws", {"a": "1", "b": " "}))
    if harness.can("head"):
        expect("the target", request.target, "/ws?a=1&b=%20")
    expect("a header of the client", request.headers.get("x-mine"), "yes")
    expect("whether the remote address is known", request.remote is not None, True)


async def _proves_the_key(harness: EngineHarness) -> None:
    await harness.start()
    answer = await _answer(harness, _FIREFOX)
    expect("Sec-WebSocket-Accept", answer.headers.get("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")


async def _accepts_firefox(harness: EngineHarness) -> None:
    await harness.start()
    _, status = await harness.ask(_FIREFOX)
    expect("the status for Firefox", status, 101)
    expect("the room", harness.peers[0].request.query["room"], "1")


async def _takes_a_head_in_pieces(harness: EngineHarness) -> None:
    await harness.start()
    client = await harness.dial()
    for at in range(0, len(_FIREFOX), 100):
        await client.send_head(_FIREFOX[at : at + 100])
    answer = await client.answer()
    expect("the status", answer and answer.status, 101)


async def _chooses_a_subprotocol(harness: EngineHarness) -> None:
    await harness.start()
    answer = await _answer(harness, request_head("ws://h/ws", (), ["other", "chat.v2", "chat.v1"]))
    expect("the chosen subprotocol", answer.headers.get("sec-websocket-protocol"), "chat.v2")


async def _shows_the_rejection(harness: EngineHarness) -> None:
    await harness.start()
    answer = await _answer(harness, request_head("ws://h/forbidden"))
    expect("the body", answer.body, b"not you\n")
    if harness.can("headers"):
        expect("the header", answer.headers.get("x-reason"), "none")


async def _hides_an_exception(harness: EngineHarness) -> None:
    await harness.start()
    answer = await _answer(harness, request_head("ws://h/broken"))
    expect("the status", answer.status, 500)
    expect("whether the exception is shown", b"secret" in answer.body, False)


def _rejects(head: bytes, status: int) -> Callable[[EngineHarness], Awaitable[None]]:
    async def check(harness: EngineHarness) -> None:
        await harness.start()
        client, answered = await harness.ask(head)
        expect("the status", answered, status)
        if harness.can("head"):  # a server may keep the connection for the next request
            expect("the end after a rejection", await read_close(client), (1006, ""))
        expect("peers opened for a rejected handshake", [p for p in harness.peers if p.was_opened], [])

    return check


CHECKS = (
    EngineCheck("accepts_a_handshake", _accepts),
    EngineCheck("proves_that_it_read_the_key", _proves_the_key, frozenset({"listen"})),
    EngineCheck("accepts_firefox", _accepts_firefox),
    EngineCheck("takes_a_handshake_in_pieces", _takes_a_head_in_pieces),
    EngineCheck("chooses_a_subprotocol", _chooses_a_subprotocol, _SUBPROTOCOLS),
    EngineCheck("shows_a_rejection_to_the_client", _shows_the_rejection),
    EngineCheck("hides_an_exception_of_the_admit_handler", _hides_an_exception),
    *(EngineCheck(f"rejects_{name}", _rejects(*case)) for name, case in _REJECTED.items()),
    EngineCheck("rejects_plain_http", _rejects(*_PLAIN_HTTP), frozenset({"pages"})),
    EngineCheck("rejects_an_unknown_subprotocol", _rejects(*_UNKNOWN), _SUBPROTOCOLS),
    *(EngineCheck(f"rejects_{name}", _rejects(*case), frozenset({"head"})) for name, case in _BAD_HEADS.items()),
)
