"""ASGI applications with a lifespan, and a uvicorn server for them."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from mycelia.errors import EngineError

__all__ = ["AsgiApp", "OnListening", "serve_app", "with_lifespan"]

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]
OnListening = Callable[[int], object]
"""Called with the port as soon as clients can connect to it."""


def with_lifespan(serve: AsgiApp, running: Callable[[], AbstractAsyncContextManager[object]]) -> AsgiApp:
    """Return an application that calls `serve` for requests.

    Args:
        serve: The application without a lifespan.
        running: Entered at the startup of the server, and left at its shutdown.
    """

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


async def serve_app(app: AsgiApp, port: int, on_listening: OnListening, **settings: Any) -> None:
    """Serve an application with uvicorn on 127.0.0.1 until SIGINT or SIGTERM.

    Args:
        app: The application.
        port: The port, or 0 for a free one.
        on_listening: Called once with the port.
        **settings: Settings of uvicorn.

    Raises:
        EngineError: uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError:
        raise EngineError("this needs an ASGI server: pip install 'mycelia[uvicorn]'") from None
    with socket.create_server(("127.0.0.1", port)) as listener:
        on_listening(listener.getsockname()[1])
        await uvicorn.Server(uvicorn.Config(app, log_level="warning", **settings)).serve(sockets=[listener])
