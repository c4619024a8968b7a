"""Checks of closing in both directions: codes, reasons, and no frame after Close (RFC 6455 §5.5.1, §7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mycelia.protocol.wire.codes import close_payload
from mycelia.protocol.ws.frames import Opcode
from mycelia.testing.engines.check import EngineCheck
from mycelia.testing.engines.harness import EngineHarness, expect, read_close

__all__ = ["CHECKS"]

_FRAMES, _CLOSING = frozenset({"frames"}), frozenset({"closing"})
_CODED, _SAID = frozenset({"close_codes"}), frozenset({"codes"})
_CODES = ((1000, ""), (1001, "leaving"), (3000, "grüße"), (4000, "x" * 123), (4999, ""), (1005, ""))
_BAD_CLOSES: dict[str, tuple[bytes, int]] = {
    "half_a_code": (b"\x03", 1002),
    "code_0": (b"\x00\x00", 1002),
    "code_999": (b"\x03\xe7", 1002),
    "code_1005": (b"\x03\xed", 1002),
    "code_1006": (b"\x03\xee", 1002),
    "code_2999": (b"\x0b\xb7", 1002),
    "code_5000": (b"\x13\x88", 1002),
    "a_reason_that_is_not_utf8": (b"\x03\xe8\xff", 1007),
}


def _client_closes(code: int, reason: str) -> Callable[[EngineHarness], Awaitable[None]]:
    async def check(harness: EngineHarness) -> None:
        await harness.start()
        client, peer = await harness.open()
        await client.send(Opcode.CLOSE, close_payload(code, reason))
        expect("the code that comes back", (await read_close(client))[0], code)
        expect("`closed`", await peer.closed_with(), (code, reason))
        expect("calls of `leaving`", peer.leavings, 1)
        expect("`failed`", peer.failures, [])

    return check


def _server_closes(code: int, reason: str) -> Callable[[EngineHarness], Awaitable[None]]:
    async def check(harness: EngineHarness) -> None:
        await harness.start()
        client, peer = await harness.open()
        peer.transport.send(b"last", False)
        peer.transport.close(code, reason)
        last = await client.receive()
        expect("what was sent before", last and last.payload, b"last")
        expect("calls of `closed` before the client answers", peer.closings, [])
        closing = await client.receive()
        expect("the Close", closing and (closing.opcode, closing.payload), (8, close_payload(code, reason)))
        await client.send(Opcode.CLOSE, close_payload(code))
        expect("frames after Close", await client.receive(), None)
        expect("`closed`", await peer.closed_with(), (code, ""))
        expect("calls of `leaving` after our own Close", peer.leavings, 0)

    return check


def _bad_close(payload: bytes, code: int) -> Callable[[EngineHarness], Awaitable[None]]:
    async def check(harness: EngineHarness) -> None:
        await harness.start()
        client, peer = await harness.open()
        await client.send(Opcode.CLOSE, payload)
        expect("the close code", (await read_close(client))[0], code)
        await client.hang_up()
        expect("`closed`", await peer.closed_with(), (1006, ""))
        expect("`failed`", peer.failures, [code])

    return check


async def _unanswered(harness: EngineHarness) -> None:
    await harness.start(close_timeout=0.05)
    client, peer = await harness.open()
    peer.transport.close(1000, "")
    expect("`closed`", await peer.closed_with(), (1006, ""))
    expect("the Close", (await read_close(client))[0], 1000)


async def _drops_after_its_close(harness: EngineHarness) -> None:
    await harness.start()
    client, peer = await harness.open()
    peer.transport.close(1001, "")
    await client.send(Opcode.TEXT, b"late")
    await client.send(Opcode.PING, b"late")
    await client.send(Opcode.CLOSE, close_payload(1000))
    expect("the Close, and nothing after it", await read_close(client), (1001, ""))
    expect("`closed`", await peer.closed_with(), (1000, ""))
    expect("messages after close()", peer.messages, [])
    expect("controls after close()", peer.controls, [])


async def _drops_after_the_clients_close(harness: EngineHarness) -> None:
    await harness.start()
    client, peer = await harness.open(echo=True)
    await client.send(Opcode.CLOSE, close_payload(1000, "done"))
    await client.send(Opcode.TEXT, b"late")
    await client.send(Opcode.CLOSE, close_payload(4000))
    expect("the Close, and nothing after it", (await read_close(client))[0], 1000)
    expect("`closed`", await peer.closed_with(), (1000, "done"))
    expect("messages after Close", peer.messages, [])


async def _closes_inside_a_message(harness: EngineHarness) -> None:
    await harness.start()
    client, peer = await harness.open()
    await client.send(Opcode.TEXT, b"begun", fin=False)
    await client.send(Opcode.CLOSE, close_payload(1000))
    # RFC 6455 §5.4 allows a control frame here. `websockets` reports a Close as an unfinished message (1002).
    code = (await read_close(client))[0]
    expect("the Close, 1000 or 1002", code in (1000, 1002), True)
    await client.hang_up()
    expect("`closed`", await peer.closed_with(), (1000, "") if code == 1000 else (1006, ""))
    expect("messages", peer.messages, [])


async def _closes_while_receiving(harness: EngineHarness) -> None:
    await harness.start()
    client, peer = await harness.open()
    peer.when_received = lambda: peer.transport.close(4000, "enough")
    for number in range(20):
        await client.send(Opcode.TEXT, b"%d" % number)
    await client.send(Opcode.CLOSE, close_payload(4000))
    expect("the Close", await read_close(client), (4000, "enough"))
    expect("`closed`", await peer.closed_with(), (4000, ""))
    expect("messages", peer.messages, [(b"0", False)])


async def _sends_nothing_more(harness: EngineHarness) -> None:
    await harness.start()
    client, peer = await harness.open()
    transport = peer.transport
    transport.close(1000, "first")
    transport.close(1001, "second")
    transport.send(b"late", False)
    if peer.pinging is not None:
        peer.pinging.ping(b"late")
    expect("the first Close, and nothing after it", await read_close(client, answer=True), (1000, "first"))
    await peer.closed_with()
    transport.send(b"too late", False)
    transport.close(1000, "")
    transport.abort()
    if peer.pausing is not None:
        peer.pausing.pause()
        peer.pausing.resume()


async def _hang_up(harness: EngineHarness) -> None:
    await harness.start()
    client, peer = await harness.open()
    await client.send(Opcode.TEXT, b"begun", fin=False)
    await client.hang_up()
    await harness.expect_gone(peer)
    expect("`failed`", peer.failures, [])


async def _aborts(harness: EngineHarness) -> None:
    await harness.start()
    client, peer = await harness.open()
    peer.transport.abort()
    peer.transport.abort()
    expect("calls of `closed` inside abort()", peer.closings, [])
    await harness.expect_reset(client)
    expect("`closed`", await peer.closed_with(), (1006, ""))


async def _aborts_while_closing(harness: EngineHarness) -> None:
    await harness.start(close_timeout=60.0)
    client, peer = await harness.open()
    peer.transport.close(1000, "")
    expect("the Close", (await client.receive() or client) is not client, True)
    peer.transport.abort()
    expect("`closed`", await peer.closed_with(), (1006, ""))


CHECKS = (
    *(EngineCheck(f"client_closes_with_{code}", _client_closes(code, reason), _CODED) for code, reason in _CODES),
    *(EngineCheck(f"server_closes_with_{code}", _server_closes(code, reason), _SAID) for code, reason in _CODES[:-1]),
    EngineCheck("server_closes_with_1005", _server_closes(*_CODES[-1]), _FRAMES),  # other engines always send a code
    *(EngineCheck(f"fails_a_close_with_{name}", _bad_close(*case), _FRAMES) for name, case in _BAD_CLOSES.items()),
    EngineCheck("ends_without_an_answer_to_its_close", _unanswered, _CLOSING),
    EngineCheck("drops_what_follows_its_close", _drops_after_its_close, _CLOSING),
    EngineCheck("drops_what_follows_the_clients_close", _drops_after_the_clients_close, _CODED),
    EngineCheck("closes_inside_a_message", _closes_inside_a_message, _FRAMES),
    EngineCheck("closes_while_it_receives", _closes_while_receiving, _CLOSING),
    EngineCheck("sends_nothing_after_close", _sends_nothing_more, _SAID),
    EngineCheck("notices_a_hang_up", _hang_up),
    EngineCheck("aborts", _aborts),
    EngineCheck("aborts_while_closing", _aborts_while_closing, _CLOSING),
)
