"""Frames of a compressed peer wait: while reading is paused, and for a turn after what has brought enough."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from mycelia.protocol.http.request import Handshake
from mycelia.protocol.wire.codes import close_payload
from mycelia.protocol.ws.deflate import DeflateSettings, Negotiator
from mycelia.protocol.ws.frames import Frame, pong_frame
from mycelia.testing.engines import RecordingPeer
from mycelia.transports.seam import Accept
from mycelia.transports.stream.engine import StreamEngine
from mycelia.transports.stream.reader import READ_BYTES
from tests.unit.transports.support import ENGINES, HEAD, Bench, bench, encode

each_engine = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
LARGE = 200_000


def packed(size: int, fin: bool = True) -> Frame:
    made = zlib.compressobj(9, wbits=-15)
    return Frame(2, fin, 4, (made.compress(b"x" * size) + made.flush(zlib.Z_SYNC_FLUSH))[:-4])


class Turns:
    """Calls back when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], object]] = []

    def __call__(self, callback: Callable[[], object]) -> Callable[[], object]:
        self.waiting.append(callback)
        return lambda: self.waiting.remove(callback)

    def next(self) -> None:
        self.waiting.pop(0)()


@asynccontextmanager
async def compressing(engine: type[StreamEngine], turns: Turns | None = None) -> AsyncIterator[Bench]:
    async with bench(engine) as stand:
        negotiator = Negotiator(DeflateSettings())

        def admit(request: Handshake) -> Accept:
            agreed = negotiator.agree(["permessage-deflate"])
            assert agreed is not None
            stand.peers.append(RecordingPeer(request, echo=False))
            return Accept(stand.peers[-1], compression=agreed._replace(schedule=turns))

        stand.engine.on("admit", admit)
        yield stand


@each_engine
async def test_every_large_message_has_a_turn_of_its_own(engine: type[StreamEngine]) -> None:
    turns = Turns()
    async with compressing(engine, turns) as stand:
        connection, stream, peer = stand.open()
        data = encode([packed(LARGE)] * 3 + [Frame(1, True, 0, b"plain"), packed(10), Frame(9, True, 0, b"p")])
        assert len(data) < READ_BYTES
        stand.feed(connection, data)
        for count in (1, 2, 3):
            assert len(peer.messages) == count and not stream.reading and len(turns.waiting) == 1
            turns.next()
        assert [len(payload) for payload, _ in peer.messages] == [LARGE] * 3 + [5, 10] and stream.reading
        assert pong_frame(b"p") in stream.written and not turns.waiting


@each_engine
async def test_small_ones_go_on_until_they_make_a_large_one(engine: type[StreamEngine]) -> None:
    turns = Turns()
    async with compressing(engine, turns) as stand:
        connection, stream, peer = stand.open()
        stand.feed(connection, encode([packed(30_000)] * 5))
        assert len(peer.messages) == 3 and not stream.reading
        turns.next()
        assert len(peer.messages) == 5 and stream.reading and not turns.waiting


@each_engine
async def test_while_reading_is_paused_nothing_more_is_inflated(engine: type[StreamEngine]) -> None:
    async with compressing(engine) as stand:
        connection, stream, peer = stand.open()
        connection.pause()
        stand.feed(connection, encode([packed(10)] * 3 + [packed(LARGE), packed(20)]))
        assert peer.messages == []
        connection.resume()
        while not stream.reading:
            assert len(peer.messages) in (0, 4)
            await asyncio.sleep(0)
        assert [len(payload) for payload, _ in peer.messages] == [10, 10, 10, LARGE, 20]


@each_engine
async def test_what_waits_is_dropped_after_a_fault(engine: type[StreamEngine]) -> None:
    turns = Turns()
    async with compressing(engine, turns) as stand:
        connection, _, peer = stand.open()
        stand.feed(connection, encode([packed(LARGE), packed(LARGE), Frame(9, False, 0, b"")]))
        assert len(peer.messages) == 1 and not turns.waiting
        await asyncio.sleep(0)


@each_engine
async def test_a_close_does_not_overtake_what_waits(engine: type[StreamEngine]) -> None:
    turns = Turns()
    async with compressing(engine, turns) as stand:
        connection, _, peer = stand.open()
        closing = Frame(8, True, 0, close_payload(1000, ""))
        stand.feed(connection, encode([packed(LARGE), packed(LARGE), packed(LARGE), closing]))
        assert len(peer.messages) == 1
        while turns.waiting:
            turns.next()
        assert [len(payload) for payload, _ in peer.messages] == [LARGE] * 3
        connection.abort()
        assert (await peer.closed_with())[0] == 1000


@each_engine
async def test_who_is_lost_takes_no_turn(engine: type[StreamEngine]) -> None:
    turns = Turns()
    async with compressing(engine, turns) as stand:
        connection, _, peer = stand.open()
        stand.feed(connection, encode([packed(LARGE), packed(LARGE)]))
        assert len(turns.waiting) == 1
        connection.abort()
        await peer.closed_with()
        assert not turns.waiting and len(peer.messages) == 1


@each_engine
async def test_frames_that_came_with_the_handshake_keep_their_order(engine: type[StreamEngine]) -> None:
    """More of them than one read brings: also what needs no reader waits behind what needs one."""
    turns = Turns()
    async with compressing(engine, turns) as stand:
        connection, _ = stand.dial()
        plain = [Frame(1, True, 0, str(number).encode() * 100) for number in range(10, 100)]
        stand.feed(connection, HEAD + encode([packed(LARGE), packed(LARGE), *plain]))
        while turns.waiting:
            turns.next()
        peer = stand.peers[-1]
        assert [len(payload) for payload, _ in peer.messages[:2]] == [LARGE] * 2
        assert [payload for payload, _ in peer.messages[2:]] == [frame.payload for frame in plain]
