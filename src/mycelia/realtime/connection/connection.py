"""The session of one client: the object that handlers and applications hold.

A `WebSocketConnection` knows its client, its rights and the application's metadata. Everything that is bound to one
transport (reading, writing, queues, close codes) belongs to its link (`link.Link`), which the session sees through the
protocol `SessionLink`. Parts that a connection does not use do not exist: metadata and the table of pending requests
are made when they are first needed, because most connections are idle.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from time import time
from typing import Any, Protocol

from mycelia.errors import ConnectionNotFound, NotRunning
from mycelia.kernel.messages.context import Options
from mycelia.kernel.messages.message import Message
from mycelia.net.client import ClientInfo
from mycelia.protocol.wire.codes import Close, may_send
from mycelia.protocol.wire.envelope import Request
from mycelia.realtime.connection.encoder import Encoder
from mycelia.realtime.connection.pending_requests import PendingRequests
from mycelia.realtime.connection.principal import ClientOptions
from mycelia.realtime.connection.send_queue import Overflow, SendResult
from mycelia.scheduling.rate_limiter import RateLimiter

__all__ = ["ConnectionState", "SessionLink", "SessionPorts", "WebSocketConnection"]


class ConnectionState(IntEnum):
    """The states of a connection, in order. A connection never goes back to an earlier state."""

    NEW = 0
    PENDING = 1  # `connect` has not been answered: found by id only, incoming frames are held
    OPEN = 2
    CLOSING = 3  # a Close was sent, or waits to be sent
    CLOSED = 4  # the transport is gone; the object stays readable until `disconnect` has run


class SessionLink(Protocol):
    """The part of a link that is used through its session."""

    id: str
    state: ConnectionState
    encoder: Encoder
    active_at: float
    rtt: float | None

    @property
    def native(self) -> object:
        """The engine library's own object; None when the transport is gone."""

    def push(self, packet: bytes, policy: Overflow = ..., key: str | None = None) -> SendResult | None:
        """Write a packet now, or queue it."""

    def close(self, code: int, reason: str) -> None:
        """Close the link."""

    def fail_and_close(self, code: Close, reason: str) -> None:
        """Close the link for a fault."""

    def stop_reading(self) -> None:
        """Read nothing more from the peer."""

    def ping(self) -> None:
        """Send a ping."""

    def update_receiver(self) -> None:
        """Apply a changed rate limiter to the messages that follow."""

    def report_rate_limited(self) -> None:
        """Count a message that the rate limit of a route refused."""


@dataclass(frozen=True, slots=True)
class SessionPorts:
    """What every session of one subsystem needs from it.

    Args:
        new_metadata: Makes the metadata mapping of a connection.
        next_request_id: Returns the correlation id of the next request to a client.
        max_pending_requests: How many requests to one client may wait for an answer.
    """

    new_metadata: Callable[[WebSocketConnection], dict[str, Any]]
    next_request_id: Callable[[], str]
    max_pending_requests: int


class WebSocketConnection:
    """One WebSocket client, from its handshake until its `disconnect` has run.

    Attributes:
        id: The connection id. It cannot be guessed unless the application generates ids itself.
        client: The client's address, subprotocol, origin, engine and kept headers.
        options: The `Options` that handlers of this connection get: principal, identity, caller.
        opened_at: The time of the handshake, in seconds since the epoch.
        accepted: True once `connect` has accepted the client. It stays True after the connection is closed.
    """

    __slots__ = (
        "__weakref__", "_metadata", "_ports", "_rate_limiter", "accepted", "client", "id", "link", "opened_at",
        "options", "pending_requests",
    )  # fmt: skip

    link: SessionLink

    def __init__(self, connection_id: str, client: ClientInfo, ports: SessionPorts) -> None:
        self.id, self.client = connection_id, client
        self.accepted = False
        self.pending_requests: PendingRequests | None = None
        self.options: Options = ClientOptions(self)
        self._ports = ports
        self.opened_at = time()
        self._metadata: dict[str, Any] | None = None
        self._rate_limiter: RateLimiter | None = None

    @property
    def metadata(self) -> dict[str, Any]:
        """The application's own mapping, empty at first.

        Filters and permission checks read what `connect` writes here (`userId`, `permissions`). The client cannot
        write to it.
        """
        if self._metadata is None:
            self._metadata = self._ports.new_metadata(self)
        return self._metadata

    @metadata.setter
    def metadata(self, value: Mapping[str, Any]) -> None:
        value = dict(value)
        self.metadata.clear()
        self.metadata.update(value)

    @property
    def has_metadata(self) -> bool:
        """True if the mapping has an entry. Reading this does not create the mapping."""
        return bool(self._metadata)

    @property
    def rate_limiter(self) -> RateLimiter | None:
        """A rate limiter for this client alone, set by the application; None for none."""
        return self._rate_limiter

    @rate_limiter.setter
    def rate_limiter(self, limiter: RateLimiter | None) -> None:
        if limiter is not None and not isinstance(limiter, RateLimiter):
            raise TypeError(f"rate_limiter: expected a RateLimiter or None, got {type(limiter).__name__}")
        self._rate_limiter = limiter
        self.link.update_receiver()

    @property
    def socket(self) -> object:
        """The engine library's own object for this connection; None when the connection is gone."""
        return self.link.native

    @property
    def connected_at(self) -> datetime:
        """The time of the handshake (aware, UTC)."""
        return datetime.fromtimestamp(self.opened_at, UTC)

    @property
    def last_activity(self) -> datetime:
        """The time of the last message from the client (aware, UTC). Pings are not messages."""
        return datetime.fromtimestamp(self.link.active_at, UTC)

    @property
    def rtt(self) -> float | None:
        """The round-trip time of the last answered ping, in seconds; None before the first answer."""
        return self.link.rtt

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return self.link.state

    @property
    def phase(self) -> ConnectionState:
        """The old name of `state`; it emits a DeprecationWarning."""
        warnings.warn("connection.phase is now connection.state", DeprecationWarning, stacklevel=2)
        return self.link.state

    @property
    def is_open(self) -> bool:
        """True if `connect` has accepted the client and the connection is not closing."""
        return self.link.state is ConnectionState.OPEN

    async def send(
        self, data: Any, *, overflow: Overflow | str = Overflow.DISCONNECT, key: str | None = None
    ) -> SendResult | None:
        """Send a mapping or a Message to this client, at most once.

        Args:
            data: A mapping, sent as it is, or a Message, sent as its path, body and trace id.
            overflow: What happens when the client's send queue is full.
            key: With `overflow="latest"`, only the newest packet of each key is kept.

        Returns:
            None if the packet was written, else what became of it.

        Raises:
            ConnectionNotFound: The client is gone.
            InvalidMessage: The data cannot be encoded.
        """
        link = self.link
        if link.state not in (ConnectionState.PENDING, ConnectionState.OPEN):
            raise ConnectionNotFound(self.id)
        return link.push(link.encoder.pack_value(to_sendable(data)), Overflow(overflow), key)

    async def request(self, path: str, body: Any = None, *, timeout: float = 30.0) -> Any:
        """Send a request to the client and return the data of its response.

        Args:
            path: The path that the client is asked for.
            body: The body of the request.
            timeout: How long to wait for the response, in seconds.

        Returns:
            The `data` of the client's response.

        Raises:
            RequestTimeout: No response came in time.
            HandlerError: The client answered `success: false`; the error carries the client's code.
            NotRunning: The client has not been accepted yet.
            ConnectionNotFound: The client is gone, or leaves before it answers.
            Overloaded: Too many requests to this client wait for a response.
        """
        link = self.link
        if link.state is ConnectionState.PENDING:
            raise NotRunning(f"connection {self.id} is not accepted yet and gets no requests; ask after `connect`")
        if link.state is not ConnectionState.OPEN:
            raise ConnectionNotFound(self.id)
        if self.pending_requests is None:
            self.pending_requests = PendingRequests(self._ports.max_pending_requests)
        request = Request(path, body, self._ports.next_request_id())
        return await self.pending_requests.ask(request, timeout, lambda asked: link.push(link.encoder.pack(asked)))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection. Does nothing if it is closing already.

        Args:
            code: A close code that may be sent (RFC 6455 §7.4): 1000, 3000 to 4999, and some others.
            reason: A reason for the client, at most 123 bytes in UTF-8.

        Raises:
            ValueError: The code may not be sent or the reason is not a string. The connection stays open.
        """
        if not isinstance(code, int) or not isinstance(reason, str) or not may_send(code):
            wanted = "a close code that may be sent (1000, 3000 to 4999, …) and a reason as a string"
            raise ValueError(f"expected {wanted}, got {code!r} and {reason!r}")
        self.link.close(code, reason)

    def ping(self) -> None:
        """Send a ping if the engine can; `rtt` is set when the answer comes (RFC 6455 §5.5.2)."""
        self.link.ping()

    def release(self) -> None:
        """Cut the reference cycles of the connection, so that it is freed without the garbage collector."""
        self.options = Options(caller=self.options.caller, connection_id=self.id)
        self.link = _ReleasedLink(self.link)

    def __repr__(self) -> str:
        return f"<WebSocketConnection {self.id} {self.link.state.name}>"


class _ReleasedLink:
    """What is left of a link when `disconnect` has run: the last activity, and calls that do nothing."""

    __slots__ = ("active_at", "encoder", "id", "rtt", "state")

    native: object = None

    def __init__(self, link: SessionLink) -> None:
        self.id, self.encoder, self.active_at, self.rtt = link.id, link.encoder, link.active_at, link.rtt
        self.state = ConnectionState.CLOSED

    def push(self, packet: bytes, policy: Overflow = Overflow.NEVER, key: str | None = None) -> SendResult | None:
        return SendResult.DROPPED

    def close(self, code: int, reason: str) -> None: ...

    def fail_and_close(self, code: Close, reason: str) -> None: ...

    def stop_reading(self) -> None: ...

    def ping(self) -> None: ...

    def update_receiver(self) -> None: ...

    def report_rate_limited(self) -> None: ...


def to_sendable(data: Any) -> Any:
    """Return what goes out for `data`: of a Message its path, body and trace id, else the value itself."""
    if isinstance(data, Message):
        return {"path": data.path, "body": data.body, "metadata": {"traceId": data.metadata.trace_id}}
    return data
