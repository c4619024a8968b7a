"""The WebSocket of an Engine.IO session, as the peer of its transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from mycelia.protocol.wire.codes import Close, may_send
from mycelia.transports.seam import CanFrame, CanPause, Control, Transport

__all__ = ["PausableTransport", "WebSocketOwner", "WebSocketPeer"]


class PausableTransport(Transport, CanPause, Protocol):
    """A transport that can stop reading."""


class WebSocketOwner(Protocol):
    """The session to which a WebSocket belongs."""

    def websocket_opened(self, websocket: WebSocketPeer) -> None:
        """Handle the end of the handshake of the WebSocket that begins the session."""

    def frame_received(self, websocket: WebSocketPeer, payload: bytes, binary: bool) -> None:
        """Handle one message of a WebSocket."""

    def update_congestion(self) -> None:
        """Compare the number of buffered bytes with the limits again."""

    def disconnected(self, key: object) -> None:
        """Handle the end of a WebSocket."""


class WebSocketPeer:
    """The peer of one WebSocket.

    Attributes:
        transport: The transport of the WebSocket, or None before its handshake is complete.
        send_frame: Sends a finished frame, or None if the transport does not take finished frames.
    """

    def __init__(self, owner: WebSocketOwner, begins_session: bool) -> None:
        self._owner, self._begins_session = owner, begins_session
        self.transport: PausableTransport | None = None
        self.send_frame: Callable[[bytes], None] | None = None
        self._closing: tuple[int, str] | None = None  # set if the session closes it, also before it is open

    def send(self, payload: bytes, binary: bool) -> None:
        """Send one message."""
        if self.transport is not None:
            self.transport.send(payload, binary)

    def close(self, code: int, reason: str) -> None:
        """Close the WebSocket, with 1000 in place of a code that a Close frame cannot carry."""
        self._closing = (code if may_send(code) else int(Close.NORMAL)), reason
        if self.transport is not None:
            self.transport.close(*self._closing)

    # -- Peer ----------------------------------------------------------------------------------------

    def opened(self, transport: Transport) -> None:
        """Begin the session in this WebSocket, or close it if the session has ended meanwhile."""
        self.transport = cast(PausableTransport, transport)
        if isinstance(transport, CanFrame) and transport.compression is None:
            self.send_frame = transport.send_frame
        if self._closing is not None:
            self.transport.close(*self._closing)
        elif self._begins_session:
            self._owner.websocket_opened(self)

    def received(self, payload: bytes, binary: bool) -> None:
        """Pass a message to the session."""
        self._owner.frame_received(self, payload, binary)

    def control(self, kind: Control, payload: bytes) -> None: ...

    def congested(self, full: bool) -> None:
        """Let the session compare all its buffered bytes with the limits."""
        self._owner.update_congestion()

    def leaving(self) -> None: ...

    def failed(self, code: int, reason: str) -> None: ...

    def closed(self, code: int, reason: str) -> None:
        """Report the end of the WebSocket to the session."""
        self._owner.disconnected(self)
