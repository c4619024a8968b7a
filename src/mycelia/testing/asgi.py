"""The payload echo over the bare `asgi` engine, for any ASGI server and the suites that look at it.

`granian --interface asgi --factory mycelia.testing.asgi:application`, or `uvicorn --factory` with the same name,
answers every message with itself. What a suite finds here, and not with a bare echo under the same server, is the
engine's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mycelia.testing.lifespan import AsgiApp, while_served
from mycelia.testing.peers import EchoPeer
from mycelia.transports.asgi.engine import AsgiEngine
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.seam import Accept

__all__ = ["application"]

_MOST = 64 * 1024 * 1024  # what the suites send, and more


def application(max_bytes: int = _MOST) -> AsgiApp:
    """An ASGI application that takes messages at any path; the lifespan starts and stops its engine."""
    engine = AsgiEngine()
    engine.on("admit", lambda request: Accept(EchoPeer()))

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        await engine.start(EngineOptions(max_message_bytes=max_bytes))
        try:
            yield
        finally:
            await engine.stop()

    return while_served(engine.serve, running)
