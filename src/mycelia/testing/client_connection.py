"""The connection of a mock client: in memory, or over a real socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from websockets.asyncio.client import ClientConnection as WebSocketsConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from mycelia.errors import EngineError
from mycelia.kernel.subsystem import BaseSubsystem
from mycelia.kernel.system import MessageSystem
from mycelia.protocol.http.request import HttpReply
from mycelia.protocol.wire.codes import Close, close_payload, parse_close
from mycelia.protocol.ws.frames import Opcode
from mycelia.transports.memory.engine import MemoryEngine
from mycelia.transports.memory.socket import HandshakeRefused, MemorySocket
from mycelia.websocket.facet import WebSocketFacet

__all__ = [
    "ClientConnection",
    "MemoryConnection",
    "MemoryServer",
    "SocketConnection",
    "connect_in_memory",
    "connect_over_socket",
    "memory_engine",
]

MemoryServer = MessageSystem | BaseSubsystem | WebSocketFacet | MemoryEngine
"""Something that has an engine of type `memory`."""


class ClientConnection(Protocol):
    """One open connection from the client's side, for one reader at a time."""

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server selected."""

    @property
    def closed(self) -> tuple[int, str]:
        """The close code and reason of the server, or code 1006 if no Close has arrived."""

    async def send(self, payload: bytes, binary: bool) -> None:
        """Send a message. Raise ConnectionResetError if the connection has ended."""

    async def receive(self) -> tuple[bytes, bool] | None:
        """Return the next message and True if it is binary. Return None if the connection has ended."""

    async def close(self, code: int, reason: str) -> None:
        """Send a Close. `receive` returns None once the server has answered it."""

    def abort(self) -> None:
        """End the connection now, without a Close."""


class MemoryConnection:
    """A connection inside this process. It answers pings and Closes, as every WebSocket client does."""

    def __init__(self, socket: MemorySocket, subprotocol: str | None) -> None:
        self.subprotocol = subprotocol
        self.closed = int(Close.ABNORMAL), ""
        self._socket = socket
        self._close_sent = False

    async def send(self, payload: bytes, binary: bool) -> None:
        """Send a message. Raise ConnectionResetError if the connection has ended."""
        if self._close_sent:
            raise ConnectionResetError("the connection is closing")
        await self._socket.send(Opcode.BINARY if binary else Opcode.TEXT, payload)

    async def receive(self) -> tuple[bytes, bool] | None:
        """Return the next message and True if it is binary. Return None if the connection has ended."""
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
        """Send a Close, once."""
        if not self._close_sent:
            self._close_sent = True
            await self._answer(Opcode.CLOSE, close_payload(code, reason))

    def abort(self) -> None:
        """End the connection now, without a Close."""
        self._socket.hang_up()

    async def _answer(self, opcode: Opcode, payload: bytes) -> None:
        with suppress(ConnectionResetError):  # `receive` reports the end
            await self._socket.send(opcode, payload)


class SocketConnection:
    """A connection over TCP, by the `websockets` library."""

    def __init__(self, connection: WebSocketsConnection) -> None:
        self._connection = connection

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server selected."""
        return self._connection.subprotocol

    @property
    def closed(self) -> tuple[int, str]:
        """The close code and reason of the server, or code 1006 if no Close has arrived."""
        received = self._connection.protocol.close_rcvd
        return (int(Close.ABNORMAL), "") if received is None else (int(received.code), received.reason)

    async def send(self, payload: bytes, binary: bool) -> None:
        """Send a message. Raise ConnectionResetError if the connection has ended."""
        try:
            await self._connection.send(payload, text=not binary)
        except ConnectionClosed as error:
            raise ConnectionResetError("the connection has ended") from error

    async def receive(self) -> tuple[bytes, bool] | None:
        """Return the next message and True if it is binary. Return None if the connection has ended."""
        try:
            message = await self._connection.recv()
        except ConnectionClosed:
            return None
        return (message.encode(), False) if isinstance(message, str) else (message, True)

    async def close(self, code: int, reason: str) -> None:
        """Send a Close and wait for the server's."""
        await self._connection.close(code, reason)

    def abort(self) -> None:
        """End the connection now, without a Close."""
        self._connection.transport.abort()


async def connect_in_memory(
    engine: MemoryEngine, url: str, headers: Mapping[str, str], subprotocols: Sequence[str]
) -> ClientConnection:
    """Connect to an engine of this process.

    Raises:
        HandshakeRefused: The server rejected the handshake.
        ConnectionRefusedError: The engine is not running.
    """
    socket, opened = await engine.open(url, headers, subprotocols)
    return MemoryConnection(socket, opened.subprotocol)


async def connect_over_socket(
    url: str, headers: Mapping[str, str], subprotocols: Sequence[str], timeout: float
) -> ClientConnection:
    """Connect over TCP.

    Raises:
        HandshakeRefused: The server rejected the handshake.
        OSError: The connection failed.
    """
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
    return SocketConnection(connection)


def memory_engine(server: MemoryServer) -> MemoryEngine:
    """Return the first engine of type `memory` of a server.

    Raises:
        EngineError: The server has no such engine. The message lists the engines that it has.
    """
    if isinstance(server, MemoryEngine):
        return server
    found: list[str] = []
    for facet in _facets(server):
        for engine in facet.engines:
            if isinstance(engine, MemoryEngine):
                return engine
            found.append(engine.name)
    raise EngineError(
        "expected a built WebSocketSubsystem with config={'websocket': {'type': 'memory'}}, "
        f"found {', '.join(found) or 'no websocket facet'}"
    )


def _facets(server: MessageSystem | BaseSubsystem | WebSocketFacet) -> list[WebSocketFacet]:
    if isinstance(server, WebSocketFacet):
        return [server]
    subsystems = [server] if isinstance(server, BaseSubsystem) else list(server.subsystems.values())
    found = (subsystem.find("websocket") for subsystem in subsystems)
    return [facet for facet in found if isinstance(facet, WebSocketFacet)]
