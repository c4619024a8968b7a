"""The server's end of a connection in memory: what it makes of the bytes that a protocol writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from mycelia.protocol.http.request import HttpReply
from mycelia.protocol.ws.frames import frame
from mycelia.transports.memory.socket import Opened
from mycelia.transports.memory.stream import MemoryStream

REPLIES = [
    HttpReply(404, b"nothing here\n"),
    HttpReply(204),
    HttpReply(200, b"{}", (("X-A", "b"), ("Retry-After", "5")), "application/json"),
    HttpReply(426, b"upgrade\n", (("X-Other", "Upgrade"),)),
]
OPENED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n"
    b"Sec-WebSocket-Protocol: chat\r\nX-A: b\r\n\r\n"
)


class Recorder(asyncio.BufferedProtocol):
    """Keeps what it is called with; reads into a small buffer."""

    def __init__(self, when_read: Callable[[], None] | None = None) -> None:
        self.reads: list[bytes] = []
        self.calls: list[str] = []
        self._buffer = bytearray(4)
        self._when_read = when_read

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.reads.append(bytes(self._buffer[:nbytes]))
        if self._when_read is not None:
            self._when_read()

    def pause_writing(self) -> None:
        self.calls.append("pause_writing")

    def resume_writing(self) -> None:
        self.calls.append("resume_writing")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("lost")


def opened(protocol: Recorder, socket_bytes: int = 1000) -> MemoryStream:
    stream = MemoryStream(protocol, ("192.0.2.1", 5), False, socket_bytes)
    stream.write(OPENED)
    return stream


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: str(reply.status))
async def test_a_response_is_read_as_it_was_meant(reply: HttpReply) -> None:
    stream = MemoryStream(Recorder(), ("192.0.2.1", 5), False, 1000)
    stream.write(reply.encode())
    assert await stream.client.answer() == reply


async def test_a_response_may_come_in_pieces_and_frames_with_it() -> None:
    data = OPENED + frame(b"hello", False)
    for cut in range(len(data)):
        stream = MemoryStream(Recorder(), ("192.0.2.1", 5), False, 1000)
        stream.write(data[:cut])
        stream.write(data[cut:])
        assert await stream.client.answer() == Opened("chat", (("X-A", "b"),))
        first = await stream.client.receive()
        assert first is not None and first.payload == b"hello"


async def test_reads_stop_at_once_when_the_protocol_pauses() -> None:
    protocol = Recorder(lambda: stream.pause_reading())
    stream = opened(protocol)
    stream.deliver(b"12345")
    stream.deliver(b"6")
    await asyncio.sleep(0)
    assert protocol.reads == [b"1234"] and not stream.is_reading()
    for expected in (b"5", b"6"):
        stream.resume_reading()
        await asyncio.sleep(0)
        assert protocol.reads[-1] == expected


async def test_writing_pauses_above_the_limit_and_resumes_in_a_later_iteration() -> None:
    protocol = Recorder()
    stream = opened(protocol, socket_bytes=10)
    stream.set_write_buffer_limits(high=20)
    for _ in range(4):
        stream.write(frame(b"12345678", False))
    assert (stream.get_write_buffer_size(), protocol.calls) == (30, ["pause_writing"])
    for _ in range(3):
        await stream.client.receive()
    assert protocol.calls == ["pause_writing"]
    await asyncio.sleep(0)
    assert protocol.calls == ["pause_writing", "resume_writing"]


async def test_close_waits_for_the_client_and_abort_does_not() -> None:
    protocol = Recorder()
    stream = opened(protocol, socket_bytes=10)
    stream.write(frame(b"x" * 20, False))
    stream.close()
    await asyncio.sleep(0)
    assert protocol.calls == [] and stream.is_closing()
    await stream.client.receive()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert protocol.calls == ["lost"] and await stream.client.receive() is None
    other = Recorder()
    stream = opened(other, socket_bytes=10)
    stream.write(frame(b"x" * 20, False))
    stream.abort()
    await asyncio.sleep(0)
    assert other.calls == ["lost"] and await stream.client.receive() is None
