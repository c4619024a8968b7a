"""The contract between the connections of one engine and the engine that hosts them."""

from __future__ import annotations

import asyncio
from typing import Protocol

from mycelia.scheduling.fair_scheduler import ReadScheduler
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.receive_budget import ReceiveBudget
from mycelia.transports.stream.handshake_response import RequestHandler
from mycelia.transports.stream.reader import Reader, Readers

__all__ = ["ConnectionHost", "HostedConnection"]


class HostedConnection(Protocol):
    """A connection, as its host sees it.

    Attributes:
        deadline: The event-loop time by which the handshake must be complete. The host sets it.
    """

    deadline: float

    @property
    def address(self) -> str:
        """The peer's host; empty for a Unix socket."""

    @property
    def descriptor(self) -> int:
        """The number of the file descriptor; -1 if there is none."""

    def expire(self) -> None:
        """Reject a handshake that took too long."""

    def abort(self) -> None:
        """End the connection now."""


class ConnectionHost(RequestHandler, Protocol):
    """The engine, as its connections see it: shared objects, and calls that report events.

    Attributes:
        loop: The event loop of the current run.
        options: The limits.
        scratch: The buffer into which connections read that have no reader.
        window: The first `READ_BYTES` of `scratch`.
        sink: The reader of connections that drop their input.
        readers: Lends readers.
        receive_budget: Counts the bytes of unfinished messages.
        read_scheduler: Lets connections with much input read in turn.
    """

    loop: asyncio.AbstractEventLoop
    options: EngineOptions
    scratch: bytearray
    window: memoryview
    sink: Reader
    readers: Readers
    receive_budget: ReceiveBudget
    read_scheduler: ReadScheduler

    def is_secure(self, stream: asyncio.Transport) -> bool:
        """Return True if the stream is encrypted."""

    def connection_accepted(self, connection: HostedConnection) -> None:
        """Start the handshake deadline of a new connection, or abort the connection."""

    def handshake_ended(self, connection: HostedConnection) -> None:
        """Stop counting a connection as half-open."""

    def connection_lost(self, connection: HostedConnection) -> None:
        """Forget a connection."""
