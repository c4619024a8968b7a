"""An echo over the bare `asgi` engine, for any ASGI server and for protocol suites.

`granian --interface asgi --factory mycelia.testing.asgi:application` serves it, and so does `uvicorn --factory` with
this name. The application sends every message back. A failure that a suite finds here, but not with a bare echo under
the same server, is a failure of the engine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mycelia.testing.asgi_server import AsgiApp, with_lifespan
from mycelia.testing.peers import EchoPeer
from mycelia.transports.asgi.engine import AsgiEngine
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.seam import Accept

__all__ = ["application"]

_MAX_BYTES = 64 * 1024 * 1024  # more than the largest message of the suites


def application(max_bytes: int = _MAX_BYTES) -> AsgiApp:
    """Return an ASGI application that accepts WebSockets at every path. Its lifespan starts and stops the engine.

    Args:
        max_bytes: The largest message in bytes.
    """
    engine = AsgiEngine()
    engine.on("admit", lambda request: Accept(EchoPeer()))

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        await engine.start(EngineOptions(max_message_bytes=max_bytes))
        try:
            yield
        finally:
            await engine.stop()

    return with_lifespan(engine.serve, running)
