"""The payload echo over the bare `asgi` engine, for any ASGI server and the suites that look at it.

`granian --interface asgi --factory mycelia.testing.asgi:application`, or `uvicorn --factory` with the same name,
answers every message with itself. What a suite finds here, and not with a bare echo under the same server, is the
engine's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from mycelia.protocol.handshake import Accept
from mycelia.testing.echo import EchoPeer
from mycelia.websocket.engines.asgi import AsgiEngine
from mycelia.websocket.engines.base import EngineOptions

__all__ = ["application"]

_MOST = 64 * 1024 * 1024


def application() -> Callable[[Any, Any, Any], Awaitable[None]]:
    """An ASGI application that takes messages of up to 64 MiB at any path; the lifespan starts and stops its engine."""
    engine = AsgiEngine()
    engine.on("admit", lambda request: Accept(EchoPeer()))

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await engine.serve(scope, receive, send)
            return
        await receive()
        await engine.start(EngineOptions(max_message_bytes=_MOST))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await engine.stop()
        await send({"type": "lifespan.shutdown.complete"})

    return echo
