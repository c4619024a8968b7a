"""Checks of `start`, `stop` and `address`."""

from __future__ import annotations

import asyncio
import socket

from mycelia.errors import ConfigError, EngineError, NotRunning
from mycelia.protocol.ws.frames import Opcode
from mycelia.testing.engines.check import EngineCheck
from mycelia.testing.engines.harness import EngineHarness, expect, read_message
from mycelia.transports.engine_options import EngineOptions, UnlimitedAccept
from mycelia.transports.memory.socket import request_head

__all__ = ["CHECKS"]

_ACCEPT = frozenset({"accept"})


async def _serves(harness: EngineHarness) -> None:
    client, _ = await harness.open(echo=True)
    await client.send(Opcode.TEXT, b"hello")
    expect("the echo", await read_message(client), (b"hello", False))


async def _starts_again(harness: EngineHarness) -> None:
    await harness.engine.stop()
    for _ in range(3):
        await harness.start()
        await _serves(harness)
        await harness.engine.stop()
        expect("the address after stop()", harness.engine.address(), None)
        await harness.engine.stop()


async def _second_start(harness: EngineHarness) -> None:
    await harness.start()
    try:
        await harness.start()
    except NotRunning:
        await _serves(harness)
    else:
        raise AssertionError("a second start(): expected NotRunning")


async def _unknown_option(harness: EngineHarness) -> None:
    try:
        await harness.start(library={"no_such_option": 1})
    except (EngineError, ConfigError) as error:
        expect("the option is named", "no_such_option" in str(error), True)
    else:
        raise AssertionError("an unknown library option: expected EngineError")
    await harness.start()
    await _serves(harness)


async def _failed_bind(harness: EngineHarness) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        try:
            await harness.engine.start(EngineOptions(port=taken.getsockname()[1]))
        except OSError:
            expect("the address after a failed bind", harness.engine.address(), None)
        else:
            raise AssertionError("start() on a taken port: expected OSError")
    await harness.start()
    await _serves(harness)


async def _stop_ends_connections(harness: EngineHarness) -> None:
    await harness.start()
    pairs = [await harness.open() for _ in range(3)]
    await harness.engine.stop()
    for client, peer in pairs:
        expect("`closed` before stop() returns", peer.closings, [(1006, "")])
        await harness.expect_reset(client)


async def _stop_ends_half_open(harness: EngineHarness) -> None:
    await harness.start()
    client = await harness.dial()
    await client.send_head(b"GET /ws HTTP/1.1\r\n")
    await _serves(harness)
    await harness.engine.stop()
    expect("the answer to half a handshake", await client.answer(), None)


async def _half_open_deadline(harness: EngineHarness) -> None:
    await harness.start(handshake_timeout=0.05)
    clients = [await harness.dial() for _ in range(2)]
    await clients[0].send_head(b"GET /ws HTTP/1.1\r\nHost: h\r\n")
    for client in clients:
        answer = await client.answer()
        expect("the answer to half a handshake", answer is None or answer.status == 408, True)
        expect("the end after the deadline", await client.receive(), None)
    expect("peers of half a handshake", harness.peers, [])


class _TwoAtATime(UnlimitedAccept):
    """Admits two connections at a time."""

    def __init__(self) -> None:
        self.inside = 0

    def acquire(self, host: str) -> bool:
        has_capacity = self.inside < 2
        self.inside += has_capacity
        return has_capacity

    def release(self, host: str) -> None:
        self.inside -= 1


async def _uses_the_accept_control(harness: EngineHarness) -> None:
    control = _TwoAtATime()
    await harness.start(accept_control=control)
    waiting = [await harness.dial() for _ in range(2)]
    expect("the response to one too many", await (await harness.dial()).answer(), None)
    for client in waiting:
        await client.hang_up()
    await _until_served(harness)
    expect("connections whose handshake is not over", control.inside, 0)


async def _until_served(harness: EngineHarness) -> None:
    """Connect until a handshake succeeds, because a server may notice late that a client has left."""
    while True:
        client = await harness.dial()
        await client.send_head(request_head("ws://127.0.0.1/ws"))
        if (answer := await client.answer()) is not None:
            expect("the status", answer.status, 101)
            return


async def _knows_the_deadline(harness: EngineHarness) -> None:
    await harness.start(handshake_timeout=30.0)
    now = asyncio.get_running_loop().time()
    _, peer = await harness.open()
    deadline = peer.transport.deadline
    expect("a deadline 30 s ahead", isinstance(deadline, float) and now + 30 <= deadline < now + 60, True)
    expect("whether there is a native object", peer.transport.native is not None, True)
    expect("the compression, which the handshake did not agree on", peer.transport.compression, None)


async def _takes_the_acceptance(harness: EngineHarness) -> None:
    await harness.start()
    client, peer = await harness.open(echo=True)
    expect("the type of what accepted() returns", type(peer.transport.accepted("c-1")), bool)
    await client.send(Opcode.TEXT, b"hello")
    expect("the echo", await read_message(client), (b"hello", False))


CHECKS = (
    EngineCheck("starts_again_after_stop", _starts_again),
    EngineCheck("refuses_a_second_start", _second_start),
    EngineCheck("names_an_unknown_option", _unknown_option),
    EngineCheck("is_clean_after_a_failed_bind", _failed_bind, frozenset({"listen"})),
    EngineCheck("stop_ends_every_connection", _stop_ends_connections),
    EngineCheck("stop_ends_half_open_connections", _stop_ends_half_open, _ACCEPT),
    EngineCheck("ends_half_open_connections_in_time", _half_open_deadline, _ACCEPT),
    EngineCheck("uses_the_accept_control", _uses_the_accept_control, _ACCEPT),
    EngineCheck("knows_the_deadline", _knows_the_deadline),
    EngineCheck("takes_the_acceptance", _takes_the_acceptance),
)
