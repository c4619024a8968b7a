"""The transports of one engine that are still there, for whoever must end them all."""

from __future__ import annotations

import asyncio

from mycelia.transports.seam import Transport

__all__ = ["Transports"]


class Transports:
    """A transport is added before its handshake is answered, and discarded when its peer knows that it is over."""

    __slots__ = ("_nobody", "_there")

    def __init__(self) -> None:
        self._there: set[Transport] = set()
        self._nobody = asyncio.Event()

    def add(self, transport: Transport) -> None:
        self._there.add(transport)

    def discard(self, transport: Transport) -> None:
        self._there.discard(transport)
        if not self._there:
            self._nobody.set()

    async def abort(self) -> None:
        """Ends them all; returns when the last one is gone. Nobody may be added meanwhile."""
        self._nobody.clear()
        for transport in list(self._there):
            transport.abort()
        if self._there:
            await self._nobody.wait()
