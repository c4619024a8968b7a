"""ASGI applications that run something for as long as their server runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

__all__ = ["AsgiApp", "while_served"]

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]


def while_served(serve: AsgiApp, running: Callable[[], AbstractAsyncContextManager[object]]) -> AsgiApp:
    """`serve` as an application: `running` is entered at the startup of its server, and left at the shutdown."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await serve(scope, receive, send)
            return
        await receive()
        async with running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    return app
