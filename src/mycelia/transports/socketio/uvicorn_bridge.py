"""WebSockets that an HTTP server has accepted, read and written by ourselves instead of by that server.

uvicorn asks for a protocol when a client wants a WebSocket, and hands over the connection. Given ours, frames are read
as by the `picows` engine, which costs a fraction of an ASGI event. Everything else stays with the server: the port,
TLS, plain requests, and WebSockets that are for others.
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

__all__ = ["CanCarry", "Carriage", "Junction"]

_FALLBACK = ("uvicorn.protocols.websockets.websockets_sansio_impl", "WebSocketsSansIOProtocol")


class Carriage(StreamEngine):
    """Listens nowhere: its connections are brought."""

    name: ClassVar[str] = "carriage"
    connection_type: ClassVar[type[StreamConnection]] = PicowsConnection

    def __init__(self) -> None:
        super().__init__()
        self._forget: dict[HostedConnection, Callable[[], object]] = {}

    def make_readers(self, options: EngineOptions) -> PicowsReaders:
        return PicowsReaders(options.max_message_bytes)

    async def start(self, options: EngineOptions) -> None:
        await super().start(replace(options, accept_control=_Inside(options.accept_control)))

    async def on_start(self) -> None: ...

    def carry(self, forget: Callable[[], object]) -> _Carried:
        """The protocol of one more connection; `forget` is called when that is gone."""
        stream = self.connect()
        self._forget[stream] = forget
        return _Carried(stream)

    def connection_lost(self, connection: HostedConnection) -> None:
        super().connection_lost(connection)
        self._forget.pop(connection)()


class _Inside(UnlimitedAccept):
    """The door of whom a server has accepted: the session that they open is what counts."""

    __slots__ = ("_outer",)

    def __init__(self, outer: AcceptControl) -> None:
        self._outer = outer

    def record_bad_request(self, status: int) -> None:
        self._outer.record_bad_request(status)


class _Carried(asyncio.Protocol):
    """The first turn of a connection, until it can read into our own buffer."""

    def __init__(self, stream: StreamConnection) -> None:
        self._stream = stream
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._stream.connection_made(transport)
        self._refused = transport.is_closing()  # the engine has stopped, or lacks descriptors
        asyncio.get_running_loop().call_soon(self._hand_over, cast(asyncio.Transport, transport))

    def _hand_over(self, transport: asyncio.Transport) -> None:
        """uvicorn has told the transport by now whose it is. A paused one, as hardly any is so soon, stays as it is."""
        if transport.is_reading() and not transport.is_closing():
            transport.pause_reading()  # for uvloop, which looks at its protocol when it begins to read
            transport.set_protocol(self._stream)
            transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            self._stream.feed(data)

    def pause_writing(self) -> None:
        self._stream.pause_writing()

    def resume_writing(self) -> None:
        self._stream.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._stream.connection_lost(error)

    def shutdown(self) -> None:
        """The server stops."""
        self._stream.close(int(Close.SERVICE_RESTART), "")


@runtime_checkable
class CanCarry(Protocol):
    """An engine whose WebSockets can be read by ourselves when uvicorn has accepted them."""

    carriage: Carriage


class Junction(asyncio.Protocol):
    """What uvicorn gets for one WebSocket; `find` says by its path whether it is ours."""

    def __init__(self, find: Callable[[str], Carriage | None], settings: dict[str, Any]) -> None:
        self._find, self._settings = find, settings
        self._connections: set[Any] = settings["server_state"].connections
        self._transport: asyncio.BaseTransport | None = None
        self._chosen: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._chosen is None:  # uvicorn brings the whole head at once
            target = data[: data.find(b"\r\n")].split(b" ")[1]
            carriage = self._find(target.partition(b"?")[0].decode("latin-1"))
            self._chosen = self._other() if carriage is None else carriage.carry(self._gone)
            self._chosen.connection_made(self._transport)
        self._chosen.data_received(data)

    def eof_received(self) -> bool | None:
        return cast("bool | None", self._chosen.eof_received())

    def pause_writing(self) -> None:
        self._chosen.pause_writing()

    def resume_writing(self) -> None:
        self._chosen.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._gone()
        self._chosen.connection_lost(error)

    def _gone(self) -> None:
        self._connections.discard(self)

    def shutdown(self) -> None:
        """The server stops; a protocol of its own is told by itself."""
        if isinstance(self._chosen, _Carried):
            self._chosen.shutdown()

    def _other(self) -> Any:
        module, name = _FALLBACK
        return getattr(import_module(module), name)(**self._settings)
