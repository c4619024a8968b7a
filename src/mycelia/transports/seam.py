"""The seam between an engine and the code above it: who calls whom, and with what.

An engine accepts connections, completes the handshakes that its `admit` handler accepts, turns bytes into whole
messages and writes what it is given. It decides nothing else. Limits, order, authentication, heartbeats and counters
live above the seam, so they hold for every engine.

An engine calls the `Admit` handler once for each handshake. An `Accept` names the `Peer` that the engine calls from
then on. The engine gives that peer a `Transport` in `Peer.opened`. `mycelia.testing.engines` checks all of this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Literal, Protocol, runtime_checkable

from mycelia.asgi.scope import Receive, Scope, Send
from mycelia.protocol.http.request import Handshake, HttpReply
from mycelia.protocol.wire.codec import Codec
from mycelia.protocol.ws.deflate import Compression
from mycelia.transports.engine_options import EngineOptions

__all__ = ["Accept", "Admit", "CanFrame", "CanPause", "CanPing", "CanServe", "Control", "Engine", "Peer", "Transport"]


class Control(Enum):
    """Events other than messages, which an engine reports if its library shows them."""

    PING = "ping"
    PONG = "pong"
    EMPTY_FRAGMENT = "empty fragment"
    FRAGMENT = "fragment"  # has a payload and is not the last fragment of its message


class Transport(Protocol):
    """The sending side of one connection.

    Every call returns at once. After `close` or `abort`, every call does nothing.
    """

    @property
    def native(self) -> object:
        """The library's own object for this connection, such as an `asyncio.Transport` or an ASGI scope."""

    @property
    def deadline(self) -> float | None:
        """The event-loop time by which handshake, authentication and `connect` must be complete, or None."""

    @property
    def compression(self) -> Compression | None:
        """The compression that the handshake agreed on; code that writes finished frames needs it."""

    @property
    def buffered(self) -> int:
        """The number of bytes that the operating system has not taken yet."""

    def send(self, payload: bytes, binary: bool) -> None:
        """Send one message as one frame.

        Args:
            payload: The whole message. For a text message it is UTF-8.
            binary: True for a binary message, False for a text message.
        """

    def accepted(self, connection_id: str) -> bool:
        """Report that the application has accepted the connection. Its greeting follows.

        Called once, after authentication and `connect`. Most transports do nothing. A protocol that confirms a
        connection with its id (Socket.IO) does so here.

        Args:
            connection_id: The id of the accepted connection.

        Returns:
            True if the transport has told the client its id, so that the event `websocket.connected` is not needed.
        """

    def close(self, code: int, reason: str) -> None:
        """Send a Close frame, drop later input, and end the connection after the peer's answer.

        Args:
            code: A close code that may be sent (RFC 6455 §7.4).
            reason: At most 123 bytes of UTF-8.

        Raises:
            ValueError: The code or the reason may not be sent.
        """

    def abort(self) -> None:
        """End the connection now. Data that is still buffered is lost."""


@runtime_checkable
class CanFrame(Protocol):
    """A transport that takes finished RFC 6455 frames, so that a broadcast is framed once for all receivers."""

    def send_frame(self, frame: bytes) -> None:
        """Send one finished frame.

        Args:
            frame: Header and payload, not masked.
        """


@runtime_checkable
class CanPing(Protocol):
    """A transport that sends Ping frames and reports Pongs (RFC 6455 §5.5.2)."""

    def ping(self, payload: bytes) -> None:
        """Send a Ping frame.

        Args:
            payload: At most 125 bytes.

        Raises:
            ValueError: The payload is too long.
        """


@runtime_checkable
class CanPause(Protocol):
    """A transport that can stop reading its socket. Data that was read before still arrives.

    A transport may be paused after `close` too: an abusive peer is then not read until the time for its Close is over.
    """

    def pause(self) -> None:
        """Stop reading."""

    def resume(self) -> None:
        """Read again."""


class Peer(Protocol):
    """The receiver of one connection's events, which the `admit` handler names in its `Accept`.

    Calls return quickly. They do not raise.
    """

    def opened(self, transport: Transport) -> None:
        """Handle the end of the handshake; the first call.

        Args:
            transport: The transport of this connection.
        """

    def received(self, payload: bytes, binary: bool) -> None:
        """Handle one whole message.

        Args:
            payload: The message, decompressed. The payload of a text message is valid UTF-8.
            binary: True for a binary message, False for a text message.
        """

    def control(self, kind: Control, payload: bytes) -> None:
        """Handle an event that is not a message. Limits on floods of such events rely on this call.

        Args:
            kind: The event.
            payload: The payload of the frame.
        """

    def congested(self, full: bool) -> None:
        """Handle a change of congestion.

        Args:
            full: True if the buffer has exceeded the high-water mark, False if the buffer has drained since.
        """

    def leaving(self) -> None:
        """Handle the peer's Close frame: nothing can be sent any more, and `closed` follows."""

    def failed(self, code: int, reason: str) -> None:
        """Handle a protocol error of the peer: the engine sends a Close frame, and `closed` follows.

        Args:
            code: The close code that the engine sends.
            reason: The reason that the engine sends.
        """

    def closed(self, code: int, reason: str) -> None:
        """Handle the end of the connection; the last call, made exactly once.

        Args:
            code: The peer's close code, 1005 for a Close frame without a code, 1006 if no Close frame came.
            reason: The peer's reason.
        """


@dataclass(slots=True)
class Accept:
    """The decision to accept a handshake.

    Attributes:
        peer: The object that receives the connection's events.
        subprotocol: The chosen subprotocol, one that the client offered.
        headers: Headers to add to the 101 response, as far as the engine can (capability `headers`).
        compression: The agreed compression, for engines with the capability `deflate`.
    """

    peer: Peer
    subprotocol: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    compression: Compression | None = None


Admit = Callable[[Handshake], Accept | HttpReply]
"""Decides a handshake: an `Accept` that names the peer, or the HTTP response that rejects it."""


class Engine(Protocol):
    """An adapter for one WebSocket library or one ASGI protocol. `BaseEngine` implements most of it.

    The class attributes are declarations. Code above the seam reads them before it makes an engine.

    Attributes:
        name: The name of the engine in logs and errors.
        capabilities: What this engine can do besides what every engine must; see `mycelia.transports.capabilities`.
        framed: True if its transports take finished frames (`CanFrame`).
        codec: The codec of all its connections, for a protocol that has only one; None to negotiate a subprotocol.
        prefix: True if an engine that serves ASGI requests (`CanServe`) wants all paths below the endpoint's path.
        refused_for_descriptors: The number of connections that were refused for lack of file descriptors.
    """

    name: ClassVar[str]
    capabilities: ClassVar[frozenset[str]]
    framed: ClassVar[bool]
    codec: ClassVar[Codec | None]
    prefix: ClassVar[bool]
    refused_for_descriptors: int

    async def start(self, options: EngineOptions) -> None:
        """Start to listen, or to serve.

        Args:
            options: The addresses and limits, which hold until `stop`.

        Raises:
            NotRunning: The engine is already running.
            EngineError: There is no `admit` handler, or `options.library` has an option that the engine does not know.
            OSError: An address cannot be bound. The engine is then as it was before the call.
        """

    async def stop(self) -> None:
        """Stop listening, reject half-open handshakes, and abort the open connections. Idempotent."""

    def on(self, event: Literal["admit"], handler: Admit) -> None:
        """Set the handler that decides handshakes. Call it before `start`.

        Args:
            event: Always `"admit"`.
            handler: The handler.

        Raises:
            EngineError: The event is unknown.
        """

    def address(self) -> tuple[str, int] | None:
        """Return the first TCP address that the engine listens on, or None."""

    def addresses(self) -> list[tuple[str, int]]:
        """Return all TCP addresses that the engine listens on, in the order of the options."""


@runtime_checkable
class CanServe(Protocol):
    """An engine that does not listen: an ASGI server, or an application in one, calls `serve` for each request.

    The engine receives the requests for the endpoint's path. With `prefix = True` it receives all requests below that
    path too, including plain HTTP requests.
    """

    async def serve(self, scope: Scope, receive: Receive, send: Send, path: str | None = None) -> None:
        """Serve one `websocket` or `http` scope. Returns when the request or the connection has ended.

        Args:
            scope: The ASGI scope.
            receive: The ASGI `receive` callable.
            send: The ASGI `send` callable.
            path: The path below the endpoint's mount point, or None to take it from the scope.
        """
