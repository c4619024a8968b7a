"""The uvicorn bridge: takes over the TCP connection of a WebSocket from uvicorn.

uvicorn creates a protocol object for each WebSocket request and gives it the connection. With a `ProtocolSwitch`, our
own stream connection reads the frames, which costs a fraction of an ASGI event. uvicorn keeps everything else: the
port, TLS, plain requests, and the WebSockets of other paths.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

from mycelia.protocol.wire.codes import Close
from mycelia.transports.engine_options import AcceptControl, EngineOptions, UnlimitedAccept
from mycelia.transports.stream.connection import StreamConnection
from mycelia.transports.stream.engine import StreamEngine
from mycelia.transports.stream.host import HostedConnection
from mycelia.transports.stream.picows_reader import PicowsConnection, PicowsReaders

__all__ = ["CanBridge", "ProtocolSwitch", "UvicornBridge"]

_FALLBACK = ("uvicorn.protocols.websockets.websockets_sansio_impl", "WebSocketsSansIOProtocol")


class UvicornBridge(StreamEngine):
    """An engine that does not listen: a `ProtocolSwitch` brings its connections."""

    name: ClassVar[str] = "uvicorn bridge"
    connection_type: ClassVar[type[StreamConnection]] = PicowsConnection

    def __init__(self) -> None:
        super().__init__()
        self._on_end: dict[HostedConnection, Callable[[], object]] = {}

    def make_readers(self, options: EngineOptions) -> PicowsReaders:
        """Return the readers of the next run."""
        return PicowsReaders(options.max_message_bytes)

    async def start(self, options: EngineOptions) -> None:
        """Prepare for connections.

        Args:
            options: The options of the engine that serves the endpoint.
        """
        await super().start(replace(options, accept_control=_BadRequestsOnly(options.accept_control)))

    async def on_start(self) -> None: ...

    def create_protocol(self, on_end: Callable[[], object]) -> _BridgedProtocol:
        """Return the protocol of one more connection.

        Args:
            on_end: Called when the connection has ended.
        """
        stream = self.connect()
        self._on_end[stream] = on_end
        return _BridgedProtocol(stream)

    def connection_lost(self, connection: HostedConnection) -> None:
        """Forget a connection, and report its end."""
        super().connection_lost(connection)
        self._on_end.pop(connection)()


class _BadRequestsOnly(UnlimitedAccept):
    """Accept control for connections that uvicorn has accepted: their sessions count as half open, not they."""

    __slots__ = ("_outer",)

    def __init__(self, outer: AcceptControl) -> None:
        self._outer = outer

    def record_bad_request(self, status: int) -> None:
        self._outer.record_bad_request(status)


class _BridgedProtocol(asyncio.Protocol):
    """The protocol of a connection for its first iteration of the event loop; then the stream connection reads it."""

    def __init__(self, stream: StreamConnection) -> None:
        self._stream = stream
        self._rejected = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._stream.connection_made(transport)
        self._rejected = transport.is_closing()  # the engine has stopped, or file descriptors are scarce
        asyncio.get_running_loop().call_soon(self._hand_over, cast(asyncio.Transport, transport))

    def _hand_over(self, transport: asyncio.Transport) -> None:
        """Replace the protocol that uvicorn has set on the transport by the stream connection.

        A transport that is paused already keeps its protocol, which is rare this early.
        """
        if transport.is_reading() and not transport.is_closing():
            transport.pause_reading()  # uvloop looks up the kind of its protocol when reading begins
            transport.set_protocol(self._stream)
            transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if not self._rejected:
            self._stream.feed(data)

    def pause_writing(self) -> None:
        self._stream.pause_writing()

    def resume_writing(self) -> None:
        self._stream.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._stream.connection_lost(error)

    def shutdown(self) -> None:
        """Close the connection, because the server stops."""
        self._stream.close(int(Close.SERVICE_RESTART), "")


@runtime_checkable
class CanBridge(Protocol):
    """An engine that can read the WebSockets that uvicorn has accepted."""

    bridge: UvicornBridge


class ProtocolSwitch(asyncio.Protocol):
    """The protocol that uvicorn uses for one WebSocket request. Its path decides who handles the connection.

    Args:
        find: Returns the bridge for a path, or None if uvicorn handles the WebSocket.
        settings: The arguments with which uvicorn creates a WebSocket protocol.
    """

    def __init__(self, find: Callable[[str], UvicornBridge | None], settings: dict[str, Any]) -> None:
        self._find, self._settings = find, settings
        self._connections: set[Any] = settings["server_state"].connections
        self._transport: asyncio.BaseTransport | None = None
        self._chosen: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport until the head of the request shows its path."""
        self._transport = transport
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Choose the protocol by the head of the request, which uvicorn passes in one piece, and pass data on."""
        if self._chosen is None:
            target = data[: data.find(b"\r\n")].split(b" ")[1]
            bridge = self._find(target.partition(b"?")[0].decode("latin-1"))
            self._chosen = self._uvicorn_protocol() if bridge is None else bridge.create_protocol(self._forget)
            self._chosen.connection_made(self._transport)
        self._chosen.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass the end of the client's data on."""
        return cast("bool | None", self._chosen.eof_received())

    def pause_writing(self) -> None:
        """Pass the congestion of the transport on."""
        self._chosen.pause_writing()

    def resume_writing(self) -> None:
        """Pass the end of the congestion on."""
        self._chosen.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection, and pass its end on.

        Args:
            error: The error that ended it, or None.
        """
        self._forget()
        self._chosen.connection_lost(error)

    def shutdown(self) -> None:
        """Close a bridged connection, because the server stops. uvicorn closes its own connections itself."""
        if isinstance(self._chosen, _BridgedProtocol):
            self._chosen.shutdown()

    def _forget(self) -> None:
        self._connections.discard(self)

    def _uvicorn_protocol(self) -> Any:
        module, name = _FALLBACK
        return getattr(import_module(module), name)(**self._settings)
