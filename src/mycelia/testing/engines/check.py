"""One check of an engine, to be called with what makes the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mycelia.testing.engines.stand import EngineStand
from mycelia.websocket.engines.base import Engine

__all__ = ["EngineCheck"]

_SECONDS = 20.0


@dataclass(frozen=True)
class EngineCheck:
    """Raises AssertionError when the engine breaks the contract, and TimeoutError when it does nothing."""

    name: str
    body: Callable[[EngineStand], Awaitable[None]]

    async def __call__(self, make_engine: Callable[[], Engine]) -> None:
        async with asyncio.timeout(_SECONDS), EngineStand(make_engine) as stand:
            await self.body(stand)

    def __str__(self) -> str:
        return self.name
