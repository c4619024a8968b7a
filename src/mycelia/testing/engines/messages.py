"""Checks of messages: payloads, limits, order, fragments, and invalid frames (RFC 6455 §5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from mycelia.protocol.ws.frames import Opcode
from mycelia.testing.engines.check import EngineCheck
from mycelia.testing.engines.harness import EngineHarness, expect, read_message
from mycelia.transports.seam import Control

__all__ = ["CHECKS"]

_PAYLOAD = frozenset({"payload"})
_LIMIT = 1000
_SIZES = (1, 125, 126, 127, 65535, 65536, 65537, 1024 * 1024)
_MANY = 500


class _Sent(NamedTuple):
    """A frame that a client sends."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0


_TEXT, _BINARY, _MORE, _PING = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION, Opcode.PING
_BROKEN: dict[str, tuple[int, Sequence[_Sent]]] = {
    "text_that_is_not_utf8": (1007, [_Sent(_TEXT, b"\xff")]),
    "text_that_ends_in_a_character": (1007, [_Sent(_TEXT, b"abc\xc3")]),
    "fragments_that_are_not_utf8": (1007, [_Sent(_TEXT, b"\xe4", False), _Sent(_MORE, b"\xe4")]),
    "a_reserved_bit": (1002, [_Sent(_TEXT, b"x", True, 4)]),
    "a_reserved_bit_of_a_ping": (1002, [_Sent(_PING, b"x", True, 1)]),
    "an_unknown_opcode": (1002, [_Sent(3, b"x")]),
    "an_unknown_control_opcode": (1002, [_Sent(11)]),
    "a_continuation_of_nothing": (1002, [_Sent(_MORE, b"x")]),
    "a_message_inside_a_message": (1002, [_Sent(_TEXT, b"x", False), _Sent(_TEXT, b"y")]),
    "a_fragmented_ping": (1002, [_Sent(_PING, b"x", False)]),
    "a_ping_of_126_bytes": (1002, [_Sent(_PING, b"x" * 126)]),
}
_TOO_LARGE: dict[str, tuple[int, Sequence[_Sent]]] = {
    "a_message_over_the_limit": (1009, [_Sent(_BINARY, b"x" * (_LIMIT + 1))]),
    "fragments_over_the_limit": (1009, [_Sent(_TEXT, b"x" * _LIMIT, False), _Sent(_MORE, b"x")]),
}


async def _echoes(harness: EngineHarness) -> None:
    await harness.start()
    client, peer = await harness.open(echo=True)
    texts = ["", "plain", "grüße, 你好, 🦊", "\x00"]
    sent = [(text.encode(), False) for text in texts]
    sent += [(b"", True), (bytes(range(256)), True), (b"\xff\xfe", True)]
    for payload, binary in sent:
        await client.send(_BINARY if binary else _TEXT, payload)
        expect("the echo", await read_message(client), (payload, binary))
    expect("what the peer received", peer.messages, sent)


async def _echoes_every_length(harness: EngineHarness) -> None:
    await harness.start(max_message_bytes=2 * 1024 * 1024)
    client, _ = await harness.open(echo=True)
    for size in _SIZES:
        payload = (b"0123456789abcdef" * (size // 16 + 1))[:size]
        for binary in (False, True):
            await client.send(_BINARY if binary else _TEXT, payload)
            expect(f"the echo of {size} bytes", await read_message(client) == (payload, binary), True)


async def _takes_the_largest(harness: EngineHarness) -> None:
    await harness.start(max_message_bytes=_LIMIT)
    client, _ = await harness.open(echo=True)
    for size in (_LIMIT - 1, _LIMIT):
        await client.send(_BINARY, b"x" * size)
        expect(f"the echo of {size} bytes", await read_message(client), (b"x" * size, True))
    await client.send(_TEXT, b"x" * (_LIMIT - 1), fin=False)
    await client.send(_MORE, b"y")
    expect("the size of two fragments", len((await read_message(client))[0]), _LIMIT)


async def _keeps_the_order(harness: EngineHarness) -> None:
    await harness.start()
    client, peer = await harness.open(echo=True)
    for number in range(_MANY):
        await client.send(_TEXT, b"%d" % number)
    echoes = [await read_message(client) for _ in range(_MANY)]
    wanted = [(b"%d" % number, False) for number in range(_MANY)]
    expect("the order at the peer", peer.messages, wanted)
    expect("the order of the echoes", echoes, wanted)


async def _joins_fragments(harness: EngineHarness) -> None:
    await harness.start()
    client, peer = await harness.open(echo=True)
    text = "grüße 🦊".encode()
    for at in range(len(text)):  # every character is cut
        await client.send(_MORE if at else _TEXT, text[at : at + 1], fin=False)
    await client.send(_PING, b"between")
    await client.send(_MORE, b"")
    pong = await client.receive()
    expect("a pong between fragments", pong and (pong.opcode, pong.payload), (Opcode.PONG, b"between"))
    expect("the joined message", await read_message(client), (text, False))
    await client.send(_BINARY, b"a", fin=False)
    await client.send(_MORE, b"", fin=False)
    await client.send(_MORE, b"b")
    expect("the joined message", await read_message(client), (b"ab", True))
    expect("what the peer received", peer.messages, [(text, False), (b"ab", True)])


async def _answers_pings(harness: EngineHarness) -> None:
    await harness.start()
    client, peer = await harness.open()
    for payload in (b"", b"data", b"x" * 125):
        await client.send(_PING, payload)
        pong = await client.receive()
        expect("the pong", pong and (pong.opcode, pong.payload), (Opcode.PONG, payload))
    await client.send(Opcode.PONG, b"unasked")
    await client.send(_TEXT, b"after")
    await peer.until(lambda: peer.messages)
    expect("messages", peer.messages, [(b"after", False)])
    pings = [(Control.PING, b""), (Control.PING, b"data"), (Control.PING, b"x" * 125)]
    shown = [*pings, (Control.PONG, b"unasked")] if harness.can("frames") else []
    expect("what the peer saw of them", peer.controls, shown)


async def _pings(harness: EngineHarness) -> None:
    await harness.start()
    client, peer = await harness.open()
    if peer.pinging is None:
        return
    peer.pinging.ping(b"alive?")
    ping = await client.receive()
    expect("the ping", ping and (ping.opcode, ping.payload), (Opcode.PING, b"alive?"))
    await client.send(Opcode.PONG, b"alive?")
    await peer.until(lambda: peer.controls)
    expect("the pong that the peer saw", peer.controls, [(Control.PONG, b"alive?")])


async def _sends_after_opened(harness: EngineHarness) -> None:
    await harness.start()
    clients = [await harness.open() for _ in range(3)]
    for number, (_, peer) in enumerate(clients):
        peer.transport.send(b"%d" % number, False)
    for number, (client, _) in enumerate(clients):
        expect("the message of this connection", await read_message(client), (b"%d" % number, False))


def _fails(code: int, frames: Sequence[_Sent]) -> Callable[[EngineHarness], Awaitable[None]]:
    async def check(harness: EngineHarness) -> None:
        await harness.start(max_message_bytes=_LIMIT)
        client, peer = await harness.open()
        for opcode, payload, fin, rsv in frames:
            await client.send(opcode, payload, fin=fin, rsv=rsv)
        await client.send(_TEXT, b"after")
        closing = await harness.end_of(client)
        expect("the close code", closing[0], code)
        await client.hang_up()
        expect("`closed`", await peer.closed_with(), (1006, ""))
        expect("`failed`", peer.failures, [code])
        expect("messages", peer.messages, [])

    return check


CHECKS = (
    EngineCheck("echoes_text_and_binary", _echoes),
    EngineCheck("echoes_every_length", _echoes_every_length),
    EngineCheck("takes_the_largest_message", _takes_the_largest, _PAYLOAD),
    EngineCheck("keeps_the_order", _keeps_the_order),
    EngineCheck("joins_fragments", _joins_fragments, _PAYLOAD),
    EngineCheck("answers_pings", _answers_pings),
    EngineCheck("pings", _pings),
    EngineCheck("keeps_connections_apart", _sends_after_opened),
    *(EngineCheck(f"fails_{name}", _fails(*case), _PAYLOAD) for name, case in _TOO_LARGE.items()),
    *(EngineCheck(f"fails_{name}", _fails(*case), frozenset({"frames"})) for name, case in _BROKEN.items()),
)
