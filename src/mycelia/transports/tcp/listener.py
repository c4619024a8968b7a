"""Listening sockets and their connections, whatever library reads their frames."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from mycelia.net.sockets import SocketFile, bind_sockets
from mycelia.scheduling.read_scheduler import Rests
from mycelia.transports.base_engine import BaseEngine
from mycelia.transports.capabilities import WIRE
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.receive_budget import Holdings
from mycelia.transports.stream.connection import StreamConnection
from mycelia.transports.stream.reader import Reader, Sink
from mycelia.transports.stream.tls import TlsStream

__all__ = ["StreamEngine"]

_SCRATCH_BYTES = 64 * 1024


class StreamEngine(BaseEngine):
    """An engine over TCP or a socket in the file system, with or without TLS; a subclass lends the readers of frames.

    Half-open connections (accepted, handshake not finished) are kept in the order in which they came, so one
    timer serves the handshake deadline of all of them. Whether there is room for one the door says, at the accept.
    """

    connection_type: ClassVar[type[StreamConnection]] = StreamConnection
    capabilities: ClassVar[frozenset[str]] = WIRE | {"addresses", "deflate", "listen", "tls", "unix_socket"}
    framed: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.scratch = bytearray(_SCRATCH_BYTES)
        self.sink: Reader = Sink(self.scratch)
        self._servers: list[asyncio.Server] = []
        self._file: SocketFile | None = None
        self._open: set[StreamConnection] = set()
        self._half_open: dict[StreamConnection, str] = {}  # and the address it came from
        self.holdings = Holdings(self.options.inbound_bytes, self.options.max_message_bytes)
        self.rests = Rests()
        self._reaper: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event = asyncio.Event()

    # -- the adapter's public face -------------------------------------------------------------------

    def configure(self, options: EngineOptions) -> None:
        super().configure(options)
        self.holdings = Holdings(options.inbound_bytes, options.max_message_bytes)
        self.prepare(options.library)

    async def on_stop(self) -> None:
        if self._file is not None:
            self._file.remove()
            self._file = None
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        self._empty.clear()
        for connection in [*self._half_open, *self._open]:
            connection.abort()
        if self._open or self._half_open:
            await self._empty.wait()
        for server in servers:
            await server.wait_closed()

    def addresses(self) -> list[tuple[str, int]]:
        """Every TCP address that it listens on, in the order of the options."""
        if self.options.unix_socket is not None:
            return []
        names = [sock.getsockname() for server in self._servers for sock in server.sockets]
        return [(host, port) for host, port, *_ in names]

    @property
    def secure(self) -> bool:
        """Whether connections are encrypted."""
        return self.options.tls is not None

    async def on_start(self) -> None:
        options = self.options
        loop = asyncio.get_running_loop()
        listen: Callable[..., Awaitable[asyncio.Server]]
        if options.unix_socket is not None:
            self._file = SocketFile(options.unix_socket, options.socket_mode)
            bound, listen = [self._file.sock], loop.create_unix_server
        else:
            bound, listen = await bind_sockets(options.host, options.port, options.backlog), loop.create_server
        try:
            for sock in bound:
                made = await listen(self._protocol, sock=sock, backlog=options.backlog, start_serving=False)
                self._servers.append(made)  # first: a start that is cancelled now closes all that serves
                await made.start_serving()
        finally:
            for sock in bound[len(self._servers) :]:
                sock.close()

    def _protocol(self) -> asyncio.BaseProtocol:
        connection = self.connection_type(self)
        tls = self.options.tls
        return connection if tls is None else TlsStream(self, connection, tls())

    # -- what a library brings -----------------------------------------------------------------------

    @abstractmethod
    def prepare(self, library: Any) -> None:
        """Takes the library's own options; called before the first connection of each run."""

    @abstractmethod
    def acquire(self, connection: StreamConnection) -> Reader:
        """A reader for a connection that has bytes and no reader."""

    @abstractmethod
    def release(self, reader: Reader) -> None:
        """Takes back a reader that is between two frames."""

    @abstractmethod
    def discard(self, reader: Reader) -> None:
        """Takes back a reader that may be in the middle of a frame."""

    # -- what its connections call -------------------------------------------------------------------

    def record_bad_request(self, status: int) -> None:
        """A head was refused before the gate saw it."""
        self.options.accept_control.record_bad_request(status)

    def accepted(self, connection: StreamConnection) -> None:
        """A TCP connection came in: its handshake's deadline begins here."""
        loop = asyncio.get_running_loop()
        connection.deadline = loop.time() + self.options.handshake_timeout
        address = connection.address
        if not self._running or self._starving(connection) or not self.options.accept_control.acquire(address):
            self._open.add(connection)  # until it is gone
            connection.abort()
            return
        self._half_open[connection] = address
        if self._reaper is None:
            self._reaper = loop.call_later(self.options.handshake_timeout, self._reap)

    def opened(self, connection: StreamConnection) -> None:
        """The handshake is over, one way or the other."""
        self._settled(connection)
        self._open.add(connection)

    def lost(self, connection: StreamConnection) -> None:
        """The connection is gone."""
        self._settled(connection)
        self._open.discard(connection)
        if not self._open and not self._half_open:
            self._empty.set()

    def held(self, connection: StreamConnection, change: int) -> None:
        """An unfinished message of a connection has grown, or is done with."""
        self.holdings.changed(connection, change)

    def _reap(self) -> None:
        loop = asyncio.get_running_loop()
        now, self._reaper = loop.time(), None
        for connection in list(self._half_open):
            if connection.deadline > now:
                self._reaper = loop.call_at(connection.deadline, self._reap)
                return
            self.record_bad_request(408)
            connection.expire()

    def _starving(self, connection: StreamConnection) -> bool:
        """Whether a new connection took one of the last descriptors: what else the process does must not lack them.

        So the loop hardly ever finds none left at an accept, where uvloop hangs up on whoever comes, and asyncio stops
        listening for a second after a thousand lines in the log.
        """
        most = self.options.max_descriptor
        if not most or connection.descriptor < most:
            return False
        self.refused_for_descriptors += 1
        return True

    def _settled(self, connection: StreamConnection) -> None:
        address = self._half_open.pop(connection, None)
        if address is not None:
            self.options.accept_control.release(address)
