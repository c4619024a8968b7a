"""Peers for servers that have no kernel above the seam."""

from __future__ import annotations

from mycelia.transports.seam import CanPause, Control, Transport

__all__ = ["ClosingPeer", "EchoPeer"]


class EchoPeer:
    """Sends every message back; stops reading while its client does not read."""

    __slots__ = ("_transport",)

    _transport: Transport

    def opened(self, transport: Transport) -> None:
        self._transport = transport

    def received(self, payload: bytes, binary: bool) -> None:
        self._transport.send(payload, binary)

    def control(self, kind: Control, payload: bytes) -> None: ...

    def congested(self, full: bool) -> None:
        if isinstance(self._transport, CanPause):
            (self._transport.pause if full else self._transport.resume)()

    def leaving(self) -> None: ...

    def failed(self, code: int, reason: str) -> None: ...

    def closed(self, code: int, reason: str) -> None: ...


class ClosingPeer(EchoPeer):
    """Closes at once, as the tests of SockJS expect it."""

    __slots__ = ()

    def opened(self, transport: Transport) -> None:
        transport.close(3000, "Go away!")
