"""The transports of one engine that have not ended yet."""

from __future__ import annotations

import asyncio

from mycelia.transports.seam import Transport

__all__ = ["TransportRegistry"]


class TransportRegistry:
    """A set of transports that can be aborted together.

    An engine adds a transport before it answers the handshake, and discards it after it has called `Peer.closed`.
    """

    __slots__ = ("_empty", "_transports")

    def __init__(self) -> None:
        self._transports: set[Transport] = set()
        self._empty = asyncio.Event()

    def add(self, transport: Transport) -> None:
        """Add a transport."""
        self._transports.add(transport)

    def discard(self, transport: Transport) -> None:
        """Remove a transport that has ended."""
        self._transports.discard(transport)
        if not self._transports:
            self._empty.set()

    async def abort(self) -> None:
        """Abort every transport, and wait until the last one has ended. Do not add one meanwhile."""
        self._empty.clear()
        for transport in list(self._transports):
            transport.abort()
        if self._transports:
            await self._empty.wait()
