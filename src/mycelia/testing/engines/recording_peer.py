"""The peer of the engine suite, which records what an engine calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mycelia.protocol.http.request import Handshake
from mycelia.transports.seam import CanPause, CanPing, Control, Transport

__all__ = ["RecordingPeer"]


class RecordingPeer:
    """A peer that records every call, and objects to calls that the contract forbids.

    Attributes:
        request: The request head of the handshake.
        echo: True to send every message back.
        messages: The messages, each with True if it is binary.
        controls: The other events.
        congestion: The arguments of `congested`.
        failures: The codes of `failed`.
        leavings: The number of calls of `leaving`.
        closings: The arguments of `closed`.
        objections: Descriptions of the forbidden calls.
        when_received: Called after each message.
    """

    def __init__(self, request: Handshake, echo: bool) -> None:
        self.request = request
        self.echo = echo
        self.messages: list[tuple[bytes, bool]] = []
        self.controls: list[tuple[Control, bytes]] = []
        self.congestion: list[bool] = []
        self.failures: list[int] = []
        self.leavings = 0
        self.closings: list[tuple[int, str]] = []
        self.objections: list[str] = []
        self.when_received: Callable[[], object] | None = None
        self._transport: Transport | None = None
        self._news = asyncio.Event()

    @property
    def transport(self) -> Transport:
        """The transport that `opened` got."""
        assert self._transport is not None
        return self._transport

    @property
    def was_opened(self) -> bool:
        """True after `opened`."""
        return self._transport is not None

    @property
    def pausing(self) -> CanPause | None:
        """The transport if it can be paused, else None."""
        return self.transport if isinstance(self.transport, CanPause) else None

    @property
    def pinging(self) -> CanPing | None:
        """The transport if it can ping, else None."""
        return self.transport if isinstance(self.transport, CanPing) else None

    async def until(self, happened: Callable[[], object]) -> None:
        """Wait until a condition on the recorded calls is true."""
        while not happened():
            self._news.clear()
            await self._news.wait()

    async def closed_with(self) -> tuple[int, str]:
        """Wait for `closed`, and return its arguments."""
        await self.until(lambda: self.closings)
        return self.closings[0]

    # -- Peer ----------------------------------------------------------------------------------------

    def opened(self, transport: Transport) -> None:
        self._note("opened", first=True)
        self._transport = transport

    def received(self, payload: bytes, binary: bool) -> None:
        self._note("received")
        if type(payload) is not bytes:
            self.objections.append(f"received: expected bytes, got {type(payload).__name__}")
        self.messages.append((payload, binary))
        if self.when_received is not None:
            self.when_received()
        if self.echo:
            self.transport.send(payload, binary)

    def control(self, kind: Control, payload: bytes) -> None:
        self._note("control")
        self.controls.append((kind, payload))

    def congested(self, full: bool) -> None:
        self._note("congested")
        if full is (self.congestion[-1] if self.congestion else False):
            self.objections.append(f"congested({full}) twice in a row")
        self.congestion.append(full)

    def leaving(self) -> None:
        self._note("leaving")
        self.leavings += 1

    def failed(self, code: int, reason: str) -> None:
        self._note("failed")
        self.failures.append(code)

    def closed(self, code: int, reason: str) -> None:
        self._note("closed")
        self.closings.append((code, reason))

    def _note(self, call: str, first: bool = False) -> None:
        if self.closings:
            self.objections.append(f"{call} after closed")
        elif first is not (self._transport is None):
            self.objections.append(f"{call} before opened, or a second opened")
        self._news.set()
