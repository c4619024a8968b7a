"""Checks of `start`, `stop` and `address`."""

from __future__ import annotations

import asyncio
import socket

from mycelia.errors import ConfigError, EngineError, NotRunning
from mycelia.protocol.ws.frames import Opcode
from mycelia.testing.engines.check import EngineCheck
from mycelia.testing.engines.stand import EngineStand, expect, read_message
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.memory.socket import request_head

__all__ = ["CHECKS"]

_ACCEPT = frozenset({"accept"})


async def _serves(stand: EngineStand) -> None:
    wire, _ = await stand.open(echo=True)
    await wire.send(Opcode.TEXT, b"hello")
    expect("the echo", await read_message(wire), (b"hello", False))


async def _starts_again(stand: EngineStand) -> None:
    await stand.engine.stop()
    for _ in range(3):
        await stand.start()
        await _serves(stand)
        await stand.engine.stop()
        expect("the address after stop()", stand.engine.address(), None)
        await stand.engine.stop()


async def _second_start(stand: EngineStand) -> None:
    await stand.start()
    try:
        await stand.start()
    except NotRunning:
        await _serves(stand)
    else:
        raise AssertionError("a second start(): expected NotRunning")


async def _unknown_option(stand: EngineStand) -> None:
    try:
        await stand.start(library={"no_such_option": 1})
    except (EngineError, ConfigError) as error:
        expect("the option is named", "no_such_option" in str(error), True)
    else:
        raise AssertionError("an unknown library option: expected EngineError")
    await stand.start()
    await _serves(stand)


async def _failed_bind(stand: EngineStand) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        try:
            await stand.engine.start(EngineOptions(port=taken.getsockname()[1]))
        except OSError:
            expect("the address after a failed bind", stand.engine.address(), None)
        else:
            raise AssertionError("start() on a taken port: expected OSError")
    await stand.start()
    await _serves(stand)


async def _stop_ends_connections(stand: EngineStand) -> None:
    await stand.start()
    pairs = [await stand.open() for _ in range(3)]
    await stand.engine.stop()
    for wire, peer in pairs:
        expect("`closed` before stop() returns", peer.closings, [(1006, "")])
        await stand.expect_reset(wire)


async def _stop_ends_half_open(stand: EngineStand) -> None:
    await stand.start()
    wire = await stand.dial()
    await wire.send_head(b"GET /ws HTTP/1.1\r\n")
    await _serves(stand)
    await stand.engine.stop()
    expect("the answer to half a handshake", await wire.answer(), None)


async def _half_open_deadline(stand: EngineStand) -> None:
    await stand.start(handshake_timeout=0.05)
    wires = [await stand.dial() for _ in range(2)]
    await wires[0].send_head(b"GET /ws HTTP/1.1\r\nHost: h\r\n")
    for wire in wires:
        answer = await wire.answer()
        expect("the answer to half a handshake", answer is None or answer.status == 408, True)
        expect("the end after the deadline", await wire.receive(), None)
    expect("peers of half a handshake", stand.peers, [])


class _NarrowDoor:
    """Lets two in at a time."""

    def __init__(self) -> None:
        self.inside = 0

    def acquire(self, host: str) -> bool:
        room = self.inside < 2
        self.inside += room
        return room

    def release(self, host: str) -> None:
        self.inside -= 1


async def _asks_the_door(stand: EngineStand) -> None:
    door = _NarrowDoor()
    await stand.start(accept_control=door)
    waiting = [await stand.dial() for _ in range(2)]
    expect("the answer to one too many", await (await stand.dial()).answer(), None)
    for wire in waiting:
        await wire.hang_up()
    await _until_served(stand)
    expect("those whose handshake is not over", door.inside, 0)


async def _until_served(stand: EngineStand) -> None:
    """The server notices in its own time that somebody hung up."""
    while True:
        wire = await stand.dial()
        await wire.send_head(request_head("ws://127.0.0.1/ws"))
        if (answer := await wire.answer()) is not None:
            expect("the status", answer.status, 101)
            return


async def _knows_the_deadline(stand: EngineStand) -> None:
    await stand.start(handshake_timeout=30.0)
    now = asyncio.get_running_loop().time()
    _, peer = await stand.open()
    deadline = peer.transport.deadline
    expect("a deadline 30 s ahead", isinstance(deadline, float) and now + 30 <= deadline < now + 60, True)
    expect("whether there is a native object", peer.transport.native is not None, True)
    expect("the compression, which the handshake did not agree on", peer.transport.compression, None)


async def _takes_the_acceptance(stand: EngineStand) -> None:
    await stand.start()
    wire, peer = await stand.open(echo=True)
    peer.transport.accepted("c-1")
    await wire.send(Opcode.TEXT, b"hello")
    expect("the echo", await read_message(wire), (b"hello", False))


CHECKS = (
    EngineCheck("starts_again_after_stop", _starts_again),
    EngineCheck("refuses_a_second_start", _second_start),
    EngineCheck("names_an_unknown_option", _unknown_option),
    EngineCheck("is_clean_after_a_failed_bind", _failed_bind, frozenset({"listen"})),
    EngineCheck("stop_ends_every_connection", _stop_ends_connections),
    EngineCheck("stop_ends_half_open_connections", _stop_ends_half_open, _ACCEPT),
    EngineCheck("ends_half_open_connections_in_time", _half_open_deadline, _ACCEPT),
    EngineCheck("asks_the_door_at_the_accept", _asks_the_door, _ACCEPT),
    EngineCheck("knows_the_deadline", _knows_the_deadline),
    EngineCheck("takes_the_acceptance", _takes_the_acceptance),
)
