"""Engines over byte streams, whatever brings the streams: the state that all connections of such an engine share."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import ClassVar

from mycelia.scheduling.fair_scheduler import ReadScheduler
from mycelia.transports.base_engine import BaseEngine
from mycelia.transports.capabilities import WIRE
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.receive_budget import ReceiveBudget
from mycelia.transports.stream.connection import StreamConnection
from mycelia.transports.stream.host import HostedConnection
from mycelia.transports.stream.reader import READ_BYTES, Reader, Readers, Sink

__all__ = ["StreamEngine"]

_SCRATCH_BYTES = 64 * 1024


class StreamEngine(BaseEngine):
    """An engine whose connections are `StreamConnection` objects.

    A subclass brings the streams and calls `connect` for each of them, and it makes the readers. Half-open connections
    (accepted, handshake not complete) are kept in the order of their arrival, so one timer serves all handshake
    deadlines. `EngineOptions.accept_control` admits or refuses a connection before the first byte is read.
    """

    connection_type: ClassVar[type[StreamConnection]]
    capabilities: ClassVar[frozenset[str]] = WIRE
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.scratch = bytearray(_SCRATCH_BYTES)
        self.window = memoryview(self.scratch)[:READ_BYTES]
        self.sink: Reader = Sink(self.scratch)
        self.read_scheduler = ReadScheduler()
        self._open: set[HostedConnection] = set()
        self._half_open: dict[HostedConnection, str] = {}  # with the address that it came from
        self._reaper: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._prepare(self.options)

    def configure(self, options: EngineOptions) -> None:
        super().configure(options)
        self.loop = asyncio.get_running_loop()
        self._prepare(options)

    async def on_stop(self) -> None:
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        self._empty.clear()
        for connection in [*self._half_open, *self._open]:
            connection.abort()
        if self._open or self._half_open:
            await self._empty.wait()

    @abstractmethod
    def make_readers(self, options: EngineOptions) -> Readers:
        """Return the readers of the next run."""

    def connect(self) -> StreamConnection:
        """Return the protocol for one more stream."""
        return self.connection_type(self)

    # -- what the connections call -------------------------------------------------------------------

    def is_secure(self, stream: asyncio.Transport) -> bool:
        """Return True if the stream is encrypted."""
        return stream.get_extra_info("sslcontext") is not None

    def record_bad_request(self, status: int) -> None:
        """Count a head that was rejected before `admit` was called."""
        self.options.accept_control.record_bad_request(status)

    def connection_accepted(self, connection: HostedConnection) -> None:
        """Start the handshake deadline of a new connection, or abort the connection."""
        connection.deadline = self.loop.time() + self.options.handshake_timeout
        address = connection.address
        if not self._running or self._lacks_descriptors(connection) or not self.options.accept_control.acquire(address):
            self._open.add(connection)  # until asyncio reports its end
            connection.abort()
            return
        self._half_open[connection] = address
        if self._reaper is None:
            self._reaper = self.loop.call_later(self.options.handshake_timeout, self._reap)

    def handshake_ended(self, connection: HostedConnection) -> None:
        """Stop counting a connection as half-open."""
        self._release(connection)
        self._open.add(connection)

    def connection_lost(self, connection: HostedConnection) -> None:
        """Forget a connection."""
        self._release(connection)
        self._open.discard(connection)
        if not self._open and not self._half_open:
            self._empty.set()

    # -- inside --------------------------------------------------------------------------------------

    def _prepare(self, options: EngineOptions) -> None:
        self.receive_budget = ReceiveBudget(options.inbound_bytes, options.max_message_bytes)
        self.readers = self.make_readers(options)

    def _reap(self) -> None:
        """Reject the half-open connections whose deadline has passed."""
        now, self._reaper = self.loop.time(), None
        for connection in list(self._half_open):
            if connection.deadline > now:
                self._reaper = self.loop.call_at(connection.deadline, self._reap)
                return
            self.record_bad_request(408)
            connection.expire()

    def _lacks_descriptors(self, connection: HostedConnection) -> bool:
        """Return True if a connection took one of the last file descriptors, which the process needs for other things.

        So the event loop hardly ever finds no descriptor left at an accept. In that case uvloop drops the client, and
        asyncio logs a thousand lines and stops listening for a second.
        """
        limit = self.options.max_descriptor
        if not limit or connection.descriptor < limit:
            return False
        self.refused_for_descriptors += 1
        return True

    def _release(self, connection: HostedConnection) -> None:
        address = self._half_open.pop(connection, None)
        if address is not None:
            self.options.accept_control.release(address)
