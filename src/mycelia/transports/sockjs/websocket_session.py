"""One SockJS session in a WebSocket: the peer of that, and the transport of the connection above."""

from __future__ import annotations

import asyncio
from typing import cast

from mycelia.protocol.sockjs.frames import (
    HEARTBEAT,
    OPEN,
    PayloadFault,
    Quoter,
    closing_frame,
    message_frame,
    read_frame,
)
from mycelia.protocol.wire.codes import Close, close_payload, may_send
from mycelia.protocol.ws.deflate import Compression
from mycelia.transports.asgi.transport import AsgiTransport
from mycelia.transports.seam import Control, Peer, Transport

__all__ = ["SockjsSocket"]


class SockjsSocket:
    """One session; it lives as long as its WebSocket."""

    def __init__(self, peer: Peer, heartbeat: float, quoter: Quoter) -> None:
        self._peer, self._heartbeat, self._quoter = peer, heartbeat, quoter
        self._below: AsgiTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._held: list[bytes] = []  # came in the message after which reading was paused
        self._paused = self._full = self._failed = self._closing = False

    # -- Transport -----------------------------------------------------------------------------------

    @property
    def buffered(self) -> int:
        return 0 if self._below is None else self._below.buffered

    def send(self, payload: bytes, binary: bool) -> None:
        if self._below is not None:
            self._below.send(message_frame([self._quoter(payload, binary)]), False)

    def close(self, code: int, reason: str) -> None:
        said = close_payload(code, reason)[2:].decode()  # raises for what may not be said
        if self._below is None or self._closing:
            return
        self._closing = True
        self._held.clear()
        if not self._full:
            self._below.send(closing_frame(code if may_send(code) else int(Close.NORMAL), said), False)
        self._below.close(code, reason)

    def abort(self) -> None:
        if self._below is not None:
            self._below.abort()

    def pause(self) -> None:
        if self._below is not None:
            self._paused = True
            self._below.pause()

    def resume(self) -> None:
        if self._below is None or not self._paused:
            return
        self._paused = False
        held, self._held = self._held, []
        self._hand_over(held)
        if not self._paused:
            self._below.resume()

    @property
    def native(self) -> object:
        return None if self._below is None else self._below.native

    @property
    def deadline(self) -> float | None:
        return None if self._below is None else self._below.deadline

    @property
    def compression(self) -> Compression | None:
        return None

    def accepted(self, connection_id: str) -> bool:
        return False

    # -- Peer of the WebSocket -----------------------------------------------------------------------

    def opened(self, transport: Transport) -> None:
        self._below = cast(AsgiTransport, transport)
        self._below.send(OPEN, False)
        self._timer = asyncio.get_running_loop().call_later(self._heartbeat, self._beat)
        self._peer.opened(self)

    def received(self, payload: bytes, binary: bool) -> None:
        try:
            if binary:
                raise PayloadFault("expected text, got bytes", close_code=Close.UNSUPPORTED_DATA)
            messages = read_frame(payload)
        except PayloadFault as fault:
            self._fail(fault)
        else:
            if messages:
                self._hand_over(messages)
            else:
                self._peer.control(Control.EMPTY_FRAGMENT, b"")  # it is nothing, and costs as much as that

    def control(self, kind: Control, payload: bytes) -> None:
        self._peer.control(kind, payload)

    def congested(self, full: bool) -> None:
        self._full = full
        self._peer.congested(full)

    def leaving(self) -> None:
        self._peer.leaving()

    def failed(self, code: int, reason: str) -> None:
        self._peer.failed(code, reason)

    def closed(self, code: int, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._below = None
        self._held.clear()
        self._peer.closed(*((int(Close.ABNORMAL), "") if self._failed else (code, reason)))

    # -- inside --------------------------------------------------------------------------------------

    def _hand_over(self, messages: list[bytes]) -> None:
        for at, message in enumerate(messages):
            if self._closing or self._below is None:
                return
            if self._paused:
                self._held += messages[at:]
                return
            self._peer.received(message, False)

    def _fail(self, fault: PayloadFault) -> None:
        """The client broke the protocol: no frame says so, only the Close."""
        if self._below is not None and not self._closing:
            self._failed = self._closing = True
            self._peer.failed(fault.close_code, fault.text)
            self._below.close(fault.close_code, fault.text)

    def _beat(self) -> None:
        if self._below is not None and not self._closing:
            if not self._full:  # else there is enough to read
                self._below.send(HEARTBEAT, False)
            self._timer = asyncio.get_running_loop().call_later(self._heartbeat, self._beat)
