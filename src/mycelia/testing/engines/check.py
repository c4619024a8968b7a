"""A check of an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mycelia.testing.engines.harness import EngineHarness
from mycelia.testing.engines.server import EngineServer
from mycelia.transports.seam import Engine

__all__ = ["EngineCheck"]

_SECONDS = 4.0


@dataclass(frozen=True)
class EngineCheck:
    """A check that raises AssertionError if the engine breaks the contract, and TimeoutError if it does nothing.

    Attributes:
        name: The name of the check.
        body: The check itself.
        needs: The capabilities that the engine must declare; see `mycelia.transports.capabilities`.
    """

    name: str
    body: Callable[[EngineHarness], Awaitable[None]]
    needs: frozenset[str] = frozenset()

    async def __call__(self, make_engine: Callable[[], Engine], server: EngineServer | None = None) -> None:
        """Check an engine.

        Args:
            make_engine: The engine class, or a function that makes an engine.
            server: The server that calls an engine which does not listen itself.
        """
        async with EngineHarness(make_engine, server) as harness, asyncio.timeout(_SECONDS):
            await self.body(harness)

    def __str__(self) -> str:
        return self.name
