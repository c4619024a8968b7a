"""What the mock client talks through: one connection in memory, or one over a real socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from mycelia.protocol.http.request import HttpReply
from mycelia.protocol.wire.codes import Close, close_payload, parse_close
from mycelia.protocol.ws.frames import Opcode
from mycelia.transports.memory.engine import MemoryEngine
from mycelia.transports.memory.socket import HandshakeRefused, MemorySocket

__all__ = ["MemoryPipe", "Pipe", "SocketPipe", "open_memory", "open_socket"]


class Pipe(Protocol):
    """One open connection from the client's side. One reader at a time."""

    @property
    def subprotocol(self) -> str | None: ...

    @property
    def closed(self) -> tuple[int, str]:
        """The server's close code and reason; 1006 while there is no Close from it."""

    async def send(self, payload: bytes, binary: bool) -> None:
        """Sends a message. ConnectionResetError when the connection has ended."""

    async def receive(self) -> tuple[bytes, bool] | None:
        """The next message and whether it is binary; None when the connection has ended."""

    async def close(self, code: int, reason: str) -> None:
        """Sends Close; `receive` returns None when the server has answered it."""

    def abort(self) -> None:
        """Ends the connection now, without a Close."""


class MemoryPipe:
    """A client in memory: answers pings and Closes, as every WebSocket client does."""

    def __init__(self, socket: MemorySocket, subprotocol: str | None) -> None:
        self.subprotocol = subprotocol
        self.closed = int(Close.ABNORMAL), ""
        self._socket = socket
        self._close_sent = False

    async def send(self, payload: bytes, binary: bool) -> None:
        if self._close_sent:
            raise ConnectionResetError("the connection is closing")
        await self._socket.send(Opcode.BINARY if binary else Opcode.TEXT, payload)

    async def receive(self) -> tuple[bytes, bool] | None:
        while (frame := await self._socket.receive()) is not None:
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                return frame.payload, frame.opcode == Opcode.BINARY
            if frame.opcode == Opcode.PING:
                await self._answer(Opcode.PONG, frame.payload)
            elif frame.opcode == Opcode.CLOSE:
                self.closed = parse_close(frame.payload)
                if not self._close_sent:
                    self._close_sent = True
                    await self._answer(Opcode.CLOSE, frame.payload[:2])
        self._socket.hang_up()
        return None

    async def close(self, code: int, reason: str) -> None:
        if not self._close_sent:
            self._close_sent = True
            await self._answer(Opcode.CLOSE, close_payload(code, reason))

    def abort(self) -> None:
        self._socket.hang_up()

    async def _answer(self, opcode: Opcode, payload: bytes) -> None:
        with suppress(ConnectionResetError):  # `receive` tells that it has ended
            await self._socket.send(opcode, payload)


class SocketPipe:
    """A client over TCP: the `websockets` library's."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @property
    def subprotocol(self) -> str | None:
        return self._connection.subprotocol

    @property
    def closed(self) -> tuple[int, str]:
        received = self._connection.protocol.close_rcvd
        return (int(Close.ABNORMAL), "") if received is None else (int(received.code), received.reason)

    async def send(self, payload: bytes, binary: bool) -> None:
        try:
            await self._connection.send(payload, text=not binary)
        except ConnectionClosed as error:
            raise ConnectionResetError("the connection has ended") from error

    async def receive(self) -> tuple[bytes, bool] | None:
        try:
            message = await self._connection.recv()
        except ConnectionClosed:
            return None
        return (message.encode(), False) if isinstance(message, str) else (message, True)

    async def close(self, code: int, reason: str) -> None:
        await self._connection.close(code, reason)

    def abort(self) -> None:
        self._connection.transport.abort()


async def open_memory(engine: MemoryEngine, url: str, headers: Mapping[str, str], subprotocols: Sequence[str]) -> Pipe:
    """A connection to an engine of this process. HandshakeRefused, ConnectionRefusedError."""
    socket, opened = await engine.open(url, headers, subprotocols)
    return MemoryPipe(socket, opened.subprotocol)


async def open_socket(url: str, headers: Mapping[str, str], subprotocols: Sequence[str], timeout: float) -> Pipe:
    """A connection over TCP. HandshakeRefused, and whatever OSError the network has."""
    try:
        connection = await connect_websocket(
            url,
            additional_headers=headers,
            subprotocols=[Subprotocol(name) for name in subprotocols] or None,
            compression=None,
            proxy=None,
            open_timeout=timeout,
            close_timeout=timeout,
            ping_interval=None,
            max_size=None,
        )
    except InvalidStatus as error:
        reply = error.response
        lines = tuple(reply.headers.raw_items())
        raise HandshakeRefused(HttpReply(reply.status_code, bytes(reply.body or b""), lines)) from error
    return SocketPipe(connection)
