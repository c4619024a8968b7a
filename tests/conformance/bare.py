"""An ASGI application that sends every message back, and nothing else: what a server does by itself.

`uvicorn --factory tests.conformance.bare:application`. It stands beside `mycelia.testing.asgi` in the Autobahn suite.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["application"]


def application() -> Callable[[Any, Any, Any], Awaitable[None]]:
    return _echo


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        if event.get("text") is not None:
            await send({"type": "websocket.send", "text": event["text"]})
        else:
            await send({"type": "websocket.send", "bytes": event["bytes"]})
