"""The endpoints that the official tests of SockJS expect, as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from mycelia.asgi.scope import path_of
from mycelia.testing.lifespan import AsgiApp, while_served
from mycelia.testing.peers import ClosingPeer, EchoPeer
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.seam import Accept
from mycelia.transports.sockjs.engine import SockjsEngine

__all__ = ["sockjs_app"]

_ENDPOINTS: Mapping[str, tuple[type[EchoPeer], Mapping[str, Any]]] = {
    "/echo": (EchoPeer, {}),
    "/close": (ClosingPeer, {}),
    "/disabled_websocket_echo": (EchoPeer, {"websocket": False}),
    "/cookie_needed_echo": (EchoPeer, {"cookie": True}),
}


def sockjs_app() -> AsgiApp:
    """The application; its engines run from the startup to the shutdown of its lifespan. Every origin may come."""
    engines = {path: _engine(peer) for path, (peer, _) in _ENDPOINTS.items()}

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        path = path_of(scope)
        engine = engines.get("/" + path.split("/")[1], engines["/echo"])
        await engine.serve(scope, receive, send, path)

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        for path, (_, options) in _ENDPOINTS.items():
            library = {"response_bytes": 4096, "client_url": "/sockjs.js", **options}
            await engines[path].start(EngineOptions(path=path, library=library))
        try:
            yield
        finally:
            for engine in engines.values():
                await engine.stop()

    return while_served(serve, running)


def _engine(peer: type[EchoPeer]) -> SockjsEngine:
    engine = SockjsEngine()
    engine.on("admit", lambda request: Accept(peer()))
    return engine
