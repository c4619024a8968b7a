"""A stream engine whose sockets are lists, and frames to read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hypothesis import strategies as st

from mycelia.protocol.http.request import Handshake, HttpReply
from mycelia.protocol.ws.deflate import Compression
from mycelia.protocol.ws.frames import Frame, mask_frame
from mycelia.testing.engines import RecordingPeer
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.seam import Accept
from mycelia.transports.stream.connection import StreamConnection
from mycelia.transports.stream.engine import StreamEngine
from mycelia.transports.stream.reader import Reader
from mycelia.transports.tcp.picows import PicowsEngine
from mycelia.transports.tcp.websockets import WebsocketsEngine

__all__ = ["ENGINES", "HEAD", "Bench", "Owner", "Stream", "bench", "encode", "frames", "read_into"]

ENGINES: list[type[StreamEngine]] = [PicowsEngine, WebsocketsEngine]
HEAD = (
    b"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)

_sizes = st.one_of(st.integers(0, 130), st.sampled_from([125, 126, 127, 2000]))
_data = st.builds(
    Frame,
    st.sampled_from([0, 1, 2]),
    st.booleans(),
    st.sampled_from([0, 0, 0, 1, 2, 4, 7]),
    st.one_of(st.binary(max_size=20), _sizes.map(lambda size: b"t" * size), st.just("ä€𝄞".encode())),
)
_controls = st.builds(
    Frame,
    st.sampled_from([9, 10]),
    st.just(True),
    st.sampled_from([0, 0, 0, 1, 4]),
    st.binary(max_size=125),
)
frames = st.lists(st.one_of(_data, _controls), max_size=8)
"""Frames that each are right by themselves; their order, texts and reserved bits need not be."""


def encode(sequence: list[Frame], key: bytes = b"\x11\xa2\x03\xf4") -> bytes:
    return b"".join(mask_frame(one.opcode, one.payload, key, one.fin, one.rsv) for one in sequence)


def read_into(reader: Reader, data: bytes) -> bool:
    """Gives a reader bytes as an event loop does, as much at once as it has room for; what its last call said."""
    kept = True
    while data:
        buffer = memoryview(reader.get_buffer(-1))
        piece, data = data[: len(buffer)], data[len(buffer) :]
        buffer[: len(piece)] = piece
        del buffer
        kept = reader.read(len(piece))
    return kept


class Owner:
    """Stands where a reader's connection does, in the middle of a message, so that it is shown every frame."""

    def __init__(self) -> None:
        self.assembler = object()
        self.compression: Compression | None = None
        self.frames: list[Frame] = []
        self.failures: list[int] = []

    def on_frame(self, opcode: int, fin: bool, rsv: int, payload: bytes) -> None:
        self.frames.append(Frame(opcode, fin, rsv, bytes(payload)))

    def fail(self, code: int, reason: str) -> None:
        self.failures.append(code)

    def of(self, engine: StreamEngine) -> Reader:
        """A reader of the engine's that belongs to this."""
        return engine.readers.acquire(self)


class Stream(asyncio.Transport):
    """asyncio's side of a connection: writes go to a list, and the end comes in a later turn of the loop."""

    def __init__(self, peername: object = ("192.0.2.1", 5)) -> None:
        super().__init__({"peername": peername})
        self.written: list[bytes] = []
        self.calls: list[str] = []
        self.high = 0
        self.reading = True
        self.lost = False
        self.protocol: asyncio.BaseProtocol | None = None

    @property
    def output(self) -> bytes:
        return b"".join(self.written)

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high or 0

    def get_write_buffer_size(self) -> int:
        return 77

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.calls.append("write_eof")

    def is_closing(self) -> bool:
        return self.lost

    def close(self) -> None:
        self._end("close")

    def abort(self) -> None:
        self._end("abort")

    def _end(self, how: str) -> None:
        self.calls.append(how)
        if not self.lost:
            self.lost = True
            assert self.protocol is not None
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)


class Bench:
    """A running engine and its connections."""

    def __init__(self, engine: StreamEngine) -> None:
        self.engine = engine
        self.peers: list[RecordingPeer] = []
        self.answer: HttpReply | None = None
        self.echo = False
        engine.on("admit", self._admit)

    def _admit(self, request: Handshake) -> Accept | HttpReply:
        if self.answer is not None:
            return self.answer
        peer = RecordingPeer(request, echo=self.echo)
        self.peers.append(peer)
        return Accept(peer)

    def dial(self, peername: object = ("192.0.2.1", 5)) -> tuple[StreamConnection, Stream]:
        """A connection that has been accepted by TCP."""
        connection, stream = self.engine.connect(), Stream(peername)
        stream.protocol = connection
        connection.connection_made(stream)
        return connection, stream

    def open(self) -> tuple[StreamConnection, Stream, RecordingPeer]:
        """A connection after its handshake; the answer to that is taken off the stream."""
        connection, stream = self.dial()
        self.feed(connection, HEAD)
        assert stream.output.startswith(b"HTTP/1.1 101 ")
        stream.written.clear()
        return connection, stream, self.peers[-1]

    def feed(self, connection: StreamConnection, data: bytes) -> None:
        """Gives a connection bytes as an event loop does."""
        while data:
            buffer = memoryview(connection.get_buffer(-1))
            piece, data = data[: len(buffer)], data[len(buffer) :]
            buffer[: len(piece)] = piece
            del buffer
            connection.buffer_updated(len(piece))


@asynccontextmanager
async def bench(engine: type[StreamEngine] = PicowsEngine, **options: Any) -> AsyncIterator[Bench]:
    """A Bench; leaving it stops the engine, and every peer must have been closed exactly once."""
    made = Bench(engine())
    await made.engine.start(EngineOptions(**{"close_timeout": 0.05, **options}))
    try:
        yield made
    finally:
        await made.engine.stop()
    for peer in made.peers:
        assert (len(peer.closings), peer.objections) == (1, [])
