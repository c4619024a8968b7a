"""One check of an engine, to be called with what makes the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mycelia.testing.engines.place import Place
from mycelia.testing.engines.stand import EngineStand
from mycelia.transports.seam import Engine

__all__ = ["EngineCheck"]

_SECONDS = 4.0


@dataclass(frozen=True)
class EngineCheck:
    """Raises AssertionError when the engine breaks the contract, and TimeoutError when it does nothing."""

    name: str
    body: Callable[[EngineStand], Awaitable[None]]
    needs: frozenset[str] = frozenset()  # capabilities, of those in `mycelia.transports.capabilities`

    async def __call__(self, make_engine: Callable[[], Engine], place: Place | None = None) -> None:
        """Checks an engine at the address that it listens on, or at a place that calls it."""
        async with EngineStand(make_engine, place) as stand, asyncio.timeout(_SECONDS):
            await self.body(stand)

    def __str__(self) -> str:
        return self.name
