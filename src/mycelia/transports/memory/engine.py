"""The engine without a network: clients in the same process, for tests (`type: "memory"`).

Its connections are the stream connections of the other engines, over in-memory streams. So it checks handshakes and
frames with the same code, and closes in the same order with the same codes. It has no address. Clients connect with
`open` and `dial`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar, cast

from mycelia.errors import EngineError
from mycelia.protocol.http.request import HttpReply
from mycelia.protocol.ws.frames import FrameFault, FrameParser
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.memory.socket import HandshakeRefused, HeaderLines, MemorySocket, Opened, request_head
from mycelia.transports.memory.stream import MemoryStream
from mycelia.transports.stream.connection import StreamConnection
from mycelia.transports.stream.engine import StreamEngine
from mycelia.transports.stream.reader import FrameHandler, Reader

__all__ = ["MemoryEngine"]

_SOCKET_BYTES = 256 * 1024


class _Connection(StreamConnection):
    """A connection whose native object is the client's end."""

    __slots__ = ()

    @property
    def native(self) -> object:
        return cast(MemoryStream, self._stream).client


class _ParserReader:
    """A reader with our own frame parser."""

    def __init__(self, owner: FrameHandler, scratch: bytearray) -> None:
        self._owner, self._scratch = owner, scratch
        self._parser = FrameParser(masked=True)

    @property
    def held_bytes(self) -> int:
        return self._parser.pending

    def get_buffer(self, hint: int) -> bytearray:
        return self._scratch

    def read(self, count: int) -> bool:
        try:
            frames = self._parser.feed(bytes(memoryview(self._scratch)[:count]))
        except FrameFault as fault:
            self._owner.fail(fault.close_code, fault.reason)
            return True
        for frame in frames:
            self._owner.on_frame(frame.opcode, frame.fin, frame.rsv, frame.payload)
        return True


class _ParserReaders:
    """Makes a reader for each connection."""

    def __init__(self, scratch: bytearray) -> None:
        self._scratch = scratch

    def acquire(self, owner: FrameHandler) -> Reader:
        return _ParserReader(owner, self._scratch)

    def release(self, reader: Reader) -> None: ...

    def discard(self, reader: Reader) -> None: ...


class MemoryEngine(StreamEngine):
    """The engine for `type: "memory"`.

    Its library option `socket_bytes` is the number of bytes that a connection holds in each direction. Its transports
    take payloads, not finished frames, so that tests cover that case too.
    """

    name: ClassVar[str] = "memory"
    connection_type: ClassVar[type[StreamConnection]] = _Connection
    library_options: ClassVar[frozenset[str]] = frozenset({"socket_bytes"})

    def __init__(self) -> None:
        super().__init__()
        self.socket_bytes = _SOCKET_BYTES

    def configure(self, options: EngineOptions) -> None:
        super().configure(options)
        socket_bytes = options.library.get("socket_bytes", _SOCKET_BYTES)
        if type(socket_bytes) is not int or socket_bytes < 1:
            raise EngineError(f"socket_bytes: expected a whole number of at least 1, got {socket_bytes!r}")
        self.socket_bytes = socket_bytes

    async def on_start(self) -> None: ...

    def make_readers(self, options: EngineOptions) -> _ParserReaders:
        return _ParserReaders(self.scratch)

    def is_secure(self, stream: asyncio.Transport) -> bool:
        return cast(MemoryStream, stream).is_secure

    # -- for clients ---------------------------------------------------------------------------------

    def dial(self, remote: tuple[str, int] = ("127.0.0.1", 0), *, secure: bool = False) -> MemorySocket:
        """Return a new connection whose handshake has not begun.

        Args:
            remote: The client's address, as the server sees it.
            secure: True to pretend that the connection uses TLS.

        Raises:
            ConnectionRefusedError: The engine is not running.
        """
        if not self._running:
            raise ConnectionRefusedError("the memory engine is not running; start the subsystem first")
        connection = self.connect()
        stream = MemoryStream(connection, remote, secure, self.socket_bytes)
        connection.connection_made(stream)
        return stream.client

    async def open(
        self, url: str, headers: HeaderLines = (), subprotocols: Sequence[str] = ()
    ) -> tuple[MemorySocket, Opened]:
        """Return a new connection and the server's 101 response.

        Args:
            url: The URL; `wss:` pretends that the connection uses TLS.
            headers: More headers of the request.
            subprotocols: The subprotocols to offer.

        Raises:
            HandshakeRefused: The server answered with another response.
            ConnectionRefusedError: The engine is not running.
            ConnectionResetError: The connection ended without a response.
        """
        socket = self.dial(secure=url.startswith("wss:"))
        try:
            socket.send_head(request_head(url, headers, subprotocols))
            answer = await socket.answer()
        except BaseException:
            socket.hang_up()
            raise
        if isinstance(answer, HttpReply):
            raise HandshakeRefused(answer)
        return socket, answer
