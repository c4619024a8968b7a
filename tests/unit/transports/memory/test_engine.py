"""What is the memory engine's own; that it is an engine like the others is shown by the suite."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from mycelia.errors import EngineError
from mycelia.protocol.http.request import Handshake, HttpReply
from mycelia.protocol.wire.codes import close_payload
from mycelia.protocol.ws.frames import Opcode
from mycelia.testing.engines import RecordingPeer
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.memory.engine import MemoryEngine
from mycelia.transports.memory.socket import HandshakeRefused, MemorySocket, Opened, request_head
from mycelia.transports.seam import Accept, CanFrame, CanPause, CanPing

SOCKET_BYTES = 1000


class Running:
    """A running engine, whose peers are recorded."""

    def __init__(self, **library: Any) -> None:
        self.engine = MemoryEngine()
        self.engine.on("admit", self._admit)
        self.peers: list[RecordingPeer] = []
        self._library = library

    async def __aenter__(self) -> Running:
        await self.engine.start(EngineOptions(high_water_bytes=100, close_timeout=0.2, library=self._library))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.engine.stop()
        assert all(len(peer.closings) == 1 and not peer.objections for peer in self.peers)

    async def open(self) -> tuple[MemorySocket, RecordingPeer]:
        socket, _ = await self.engine.open("ws://h/ws")
        return socket, self.peers[-1]

    def _admit(self, request: Handshake) -> Accept | HttpReply:
        if request.path != "/ws":
            return HttpReply(404, b"nothing here\n")
        peer = RecordingPeer(request, echo=False)
        self.peers.append(peer)
        chosen = request.subprotocols[0] if request.subprotocols else None
        return Accept(peer, chosen, (("X-A", "b"),))


async def test_open_returns_the_answer() -> None:
    async with Running() as running:
        socket, opened = await running.engine.open("wss://h:1/ws?a=1", {"Host": "other", "X-B": "c"}, ["chat"])
        assert opened == Opened("chat", (("X-A", "b"),))
        request = running.peers[0].request
        assert (request.target, request.host, request.secure) == ("/ws?a=1", "other", True)
        assert request.headers.getall("x-b") == ["c"]
        assert running.peers[0].transport.native is socket
        assert socket.remote == ("127.0.0.1", 0)
        assert running.peers[0].transport.compression is None


async def test_open_raises_the_refusal() -> None:
    async with Running() as running:
        with pytest.raises(HandshakeRefused, match="expected 101, got 404: nothing here") as caught:
            await running.engine.open("memory://h/other")
        assert caught.value.reply == HttpReply(404, b"nothing here\n")
    with pytest.raises(ConnectionRefusedError, match="start"):
        await running.engine.open("ws://h/ws")


@pytest.mark.parametrize("value", [0, -1, True, "1"])
async def test_socket_bytes_is_checked(value: object) -> None:
    with pytest.raises(EngineError, match="socket_bytes: expected"):
        async with Running(socket_bytes=value):
            pass


async def test_its_transports_ping_and_pause_and_take_no_frames() -> None:
    async with Running() as running:
        transport = (await running.open())[1].transport
        assert isinstance(transport, CanPing) and isinstance(transport, CanPause)
        assert not isinstance(transport, CanFrame) and running.engine.framed is False
        with pytest.raises(ValueError, match="125"):
            transport.ping(b"x" * 126)


async def test_nothing_is_delivered_within_the_call_that_sends_it() -> None:
    async with Running() as running:
        socket, peer = await running.open()
        await socket.send(Opcode.TEXT, b"1")
        await socket.send(Opcode.TEXT, b"2")
        assert peer.messages == []
        await asyncio.sleep(0)
        assert peer.messages == [(b"1", False), (b"2", False)]
        socket.hang_up()
        assert peer.closings == []


async def test_a_paused_transport_holds_a_bounded_amount_and_loses_nothing() -> None:
    async with Running(socket_bytes=SOCKET_BYTES) as running:
        socket, peer = await running.open()
        assert peer.pausing is not None
        peer.pausing.pause()

        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(50):
                await socket.send(Opcode.BINARY, b"x" * 98)
                sent += 1

        sending = asyncio.create_task(send())
        for _ in range(100):
            await asyncio.sleep(0)
        assert (sent, peer.messages) == (SOCKET_BYTES // 100, [])
        peer.pausing.resume()
        await sending
        await peer.until(lambda: len(peer.messages) == 50)


async def test_a_pause_takes_effect_between_two_messages() -> None:
    def arrived(number: int) -> bool:
        return len(peer.messages) == number

    async with Running() as running:
        socket, peer = await running.open()
        pausing = peer.pausing
        assert pausing is not None
        peer.when_received = pausing.pause
        for number in range(3):
            await socket.send(Opcode.TEXT, b"%d" % number)
        await peer.until(lambda: peer.messages)
        await asyncio.sleep(0)
        assert len(peer.messages) == 1
        for number in range(1, 4):
            await peer.until(partial(arrived, number))
            pausing.resume()


async def test_buffered_counts_what_the_client_has_not_taken() -> None:
    async with Running(socket_bytes=SOCKET_BYTES) as running:
        socket, peer = await running.open()
        transport = peer.transport
        transport.send(b"x" * 998, True)
        assert (transport.buffered, peer.congestion) == (0, [])
        transport.send(b"x" * 99, True)
        assert (transport.buffered, peer.congestion) == (101, [True])
        await socket.receive()
        assert peer.congestion == [True]  # told in a later turn
        await peer.until(lambda: len(peer.congestion) == 2)
        assert (transport.buffered, peer.congestion) == (0, [True, False])


async def test_an_abort_loses_what_had_not_left_the_server() -> None:
    async with Running(socket_bytes=SOCKET_BYTES) as running:
        socket, peer = await running.open()
        for number in range(20):
            peer.transport.send(b"%98d" % number, False)
        peer.transport.abort()
        assert await peer.closed_with() == (1006, "")
        read = 0
        while await socket.receive() is not None:
            read += 1
        assert read == SOCKET_BYTES // 100
        with pytest.raises(ConnectionResetError):
            await socket.send(Opcode.TEXT, b"late")


async def test_a_send_that_waits_ends_with_the_connection() -> None:
    async with Running(socket_bytes=SOCKET_BYTES) as running:
        socket, peer = await running.open()
        assert peer.pausing is not None
        peer.pausing.pause()
        await socket.send(Opcode.TEXT, b"x" * SOCKET_BYTES)
        waiting = asyncio.create_task(socket.send(Opcode.TEXT, b"more"))
        await asyncio.sleep(0)
        peer.transport.abort()
        with pytest.raises(ConnectionResetError, match="has ended"):
            await waiting


async def test_the_answer_to_a_close_waits_for_a_client_that_does_not_read() -> None:
    async with Running(socket_bytes=SOCKET_BYTES) as running:
        socket, peer = await running.open()
        peer.transport.send(b"x" * (SOCKET_BYTES + 10), True)
        await socket.send(Opcode.CLOSE, close_payload(1000, "bye"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert peer.closings == []
        await socket.receive()
        assert await peer.closed_with() == (1000, "bye")


async def test_a_peer_that_raises_costs_only_its_own_connection() -> None:
    def fail() -> None:
        raise RuntimeError("a fault of the peer")

    async with Running() as running:
        socket, peer = await running.open()
        peer.when_received = fail
        await socket.send(Opcode.TEXT, b"x")
        closing = await socket.receive()
        assert closing is not None and closing.payload == close_payload(1011)
        assert peer.failures == [1011]


async def test_a_close_code_that_may_not_be_sent_changes_nothing() -> None:
    async with Running() as running:
        socket, peer = await running.open()
        with pytest.raises(ValueError, match="1006"):
            peer.transport.close(1006, "")
        peer.transport.send(b"still open", False)
        frame = await socket.receive()
        assert frame is not None and frame.payload == b"still open"


def test_a_head_as_a_client_sends_it() -> None:
    head = request_head("ws://example.org", [("Host", "a"), ("Cookie", "b")], ["x", "y"]).decode()
    assert head.startswith("GET / HTTP/1.1\r\n") and head.endswith("\r\n\r\n")
    assert "Host: a\r\n" in head and "example.org" not in head
    assert "Sec-WebSocket-Protocol: x, y\r\n" in head and "Cookie: b\r\n" in head
