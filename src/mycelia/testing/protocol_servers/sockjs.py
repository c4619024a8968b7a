"""The endpoints that the official tests of SockJS expect, as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from mycelia.asgi.scope import path_of
from mycelia.testing.asgi_server import AsgiApp, with_lifespan
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
    """Return the application. Its lifespan starts and stops the engines, which accept every origin."""
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

    return with_lifespan(serve, running)


def _engine(peer: type[EchoPeer]) -> SockjsEngine:
    engine = SockjsEngine()
    engine.on("admit", lambda request: Accept(peer()))
    return engine
