"""Peers for servers that have no subsystem above the seam."""

from __future__ import annotations

from mycelia.transports.seam import CanPause, Control, Transport

__all__ = ["ClosingPeer", "EchoPeer"]


class EchoPeer:
    """Sends every message back, and stops reading while the client does not read."""

    __slots__ = ("_transport",)

    _transport: Transport

    def opened(self, transport: Transport) -> None:
        """Keep the transport for the responses."""
        self._transport = transport

    def received(self, payload: bytes, binary: bool) -> None:
        """Send the message back."""
        self._transport.send(payload, binary)

    def control(self, kind: Control, payload: bytes) -> None:
        """Ignore pings and pongs."""

    def congested(self, full: bool) -> None:
        """Stop reading while the send buffer is full."""
        if isinstance(self._transport, CanPause):
            (self._transport.pause if full else self._transport.resume)()

    def leaving(self) -> None:
        """Ignore the client's Close."""

    def failed(self, code: int, reason: str) -> None:
        """Ignore protocol errors."""

    def closed(self, code: int, reason: str) -> None:
        """Ignore the end."""


class ClosingPeer(EchoPeer):
    """Closes at once with 3000, as the tests of SockJS expect it."""

    __slots__ = ()

    def opened(self, transport: Transport) -> None:
        """Close the connection."""
        transport.close(3000, "Go away!")
