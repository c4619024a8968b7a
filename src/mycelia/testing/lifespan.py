"""ASGI applications that run something for as long as their server runs; and such a server."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from mycelia.errors import EngineError

__all__ = ["AsgiApp", "Told", "serve_app", "while_served"]

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]
Told = Callable[[int], object]
"""Is called with the port, once it can be connected to."""


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


async def serve_app(app: AsgiApp, port: int, told: Told, **settings: Any) -> None:
    """Serves an application with uvicorn on 127.0.0.1 until SIGINT or SIGTERM. Raises EngineError without uvicorn."""
    try:
        import uvicorn
    except ImportError:
        raise EngineError("this needs an ASGI server: pip install 'mycelia[uvicorn]'") from None
    with socket.create_server(("127.0.0.1", port)) as listener:
        told(listener.getsockname()[1])
        await uvicorn.Server(uvicorn.Config(app, log_level="warning", **settings)).serve(sockets=[listener])
