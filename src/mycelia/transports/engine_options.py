"""The options of `Engine.start`: listen addresses, and the limits that only an engine can enforce."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mycelia.protocol.http.request import Handshake, HttpReply

__all__ = ["AcceptControl", "EngineOptions", "UnlimitedAccept"]


class AcceptControl(Protocol):
    """Admission control at the TCP accept, before the engine has read a byte."""

    def acquire(self, host: str) -> bool:
        """Admit or refuse a new connection. If it is refused, the engine resets it.

        Args:
            host: The client's address; empty for a client without an address.

        Returns:
            True if the connection is admitted. The engine then owes one call of `release`.
        """

    def release(self, host: str) -> None:
        """Report that the handshake of an admitted connection is over. Called exactly once for each.

        Args:
            host: The address that was given to `acquire`.
        """

    def record_bad_request(self, status: int) -> None:
        """Count a request head that the engine rejected before it called the `admit` handler.

        Args:
            status: The HTTP status of the rejection; 408 if the head was not complete in time.
        """


class UnlimitedAccept:
    """Admits every connection and counts nothing."""

    __slots__ = ()

    def acquire(self, host: str) -> bool:
        return True

    def release(self, host: str) -> None: ...

    def record_bad_request(self, status: int) -> None: ...


def _accept_request(request: Handshake) -> HttpReply | None:
    return None


def _never_too_many(session_id: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The options of one run of an engine: where to listen, and the limits that only the engine can enforce.

    Attributes:
        host: Host name or address, or several.
        port: TCP port; 0 for a free one.
        unix_socket: Path of a Unix socket, which replaces `host` and `port`.
        socket_mode: File mode of the Unix socket.
        tls: Called for each connection, so that renewed certificates take effect; None for plain TCP.
        path: Path of the endpoint, for engines that serve all paths below it; empty for any path.
        max_message_bytes: Largest message that a client may send, after decompression.
        handshake_timeout: Seconds for TLS and HTTP handshake together.
        close_timeout: Seconds to wait for the peer's Close frame.
        ping_interval: Seconds between the heartbeats of a protocol that has its own; 0 for the protocol's default.
        ping_timeout: Seconds to wait for the answer to such a heartbeat.
        high_water_bytes: Buffered output from which on a connection is congested.
        backlog: Length of the queue of connections that the operating system has not handed over yet.
        inbound_bytes: Bytes of incomplete messages that all connections together may hold.
        accept_control: Admission control at the TCP accept.
        allowed_origins: Origins besides the endpoint's own, for engines that serve pages to be embedded.
        check_request: Returns the response that rejects a plain HTTP request because of its Host or Origin header.
        too_many_rejections: Counts a rejected connection attempt in a session (by its id) and returns True once
            the session has had too many. The engine then closes the session (4429).
        max_descriptor: Accepted sockets with this file descriptor or a higher one are reset; 0 for no limit.
        library: Options for the library. The engine raises EngineError for an option that it does not know.
    """

    host: str | tuple[str, ...] = "127.0.0.1"
    port: int = 0
    unix_socket: str | None = None
    socket_mode: int = 0o600
    tls: Callable[[], ssl.SSLContext] | None = None
    path: str = ""
    max_message_bytes: int = 1024 * 1024
    handshake_timeout: float = 30.0
    close_timeout: float = 2.0
    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    high_water_bytes: int = 64 * 1024
    backlog: int = 1024
    inbound_bytes: int = 64 * 1024 * 1024
    accept_control: AcceptControl = field(default_factory=UnlimitedAccept)
    allowed_origins: tuple[str, ...] = ()
    check_request: Callable[[Handshake], HttpReply | None] = _accept_request
    too_many_rejections: Callable[[str], bool] = _never_too_many
    max_descriptor: int = 0
    library: Mapping[str, Any] = field(default_factory=dict)
