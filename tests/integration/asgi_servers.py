"""ASGI servers of other projects, running in this process, for the engine suite."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from mycelia.testing.engines import EngineServer
from mycelia.testing.engines.server import Connect
from mycelia.testing.raw_client import TcpRawClient
from mycelia.transports.seam import CanServe, Engine
from tests.integration.harness import within

__all__ = ["ASGI_SERVERS", "Granian", "HttpParser", "Hypercorn", "Uvicorn"]

HttpParser = Literal["h11", "httptools"]

_MAX_BYTES = 2 * 1024 * 1024


class Uvicorn:
    """uvicorn with one of its WebSocket implementations and one of its HTTP implementations."""

    capabilities = frozenset({"close_codes", "headers"})

    def __init__(self, implementation: Any, deflate: bool = True, http: HttpParser = "h11") -> None:
        self.implementation, self.deflate, self.http = implementation, deflate, http

    async def open(self, engine: Engine) -> Connect:
        return partial(TcpRawClient.to, await self.serve(application(engine)))

    async def serve(self, served: Any) -> tuple[str, int]:
        """Serve an application."""
        import uvicorn

        self._socket = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            served, http=self.http, ws=self.implementation, ws_per_message_deflate=self.deflate, lifespan="off",
            log_level="critical", ws_max_size=_MAX_BYTES, timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._serving = asyncio.create_task(self._server.serve([self._socket]))
        await _listening(self._socket.getsockname())
        return "127.0.0.1", self._socket.getsockname()[1]

    async def close(self) -> None:
        self._server.should_exit = True
        await within(self._serving)
        self._socket.close()


class Hypercorn:
    capabilities = frozenset({"headers"})

    async def open(self, engine: Engine) -> Connect:
        from hypercorn.asyncio import serve
        from hypercorn.config import Config

        self._socket = socket.create_server(("127.0.0.1", 0))
        config = Config()
        config.bind = [f"fd://{os.dup(self._socket.fileno())}"]
        config.graceful_timeout = 0.5
        config.websocket_max_message_size = _MAX_BYTES
        config.errorlog = None
        self._end = asyncio.Event()
        self._serving = asyncio.create_task(serve(application(engine), config, shutdown_trigger=self._end.wait))
        await _listening(self._socket.getsockname())
        return partial(TcpRawClient.to, self._socket.getsockname())

    async def close(self) -> None:
        self._end.set()
        await within(self._serving)
        self._socket.close()


class Granian:
    capabilities: frozenset[str] = frozenset()

    async def open(self, engine: Engine) -> Connect:
        from granian.constants import Interfaces
        from granian.server.embed import Server

        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1])
        self._server = Server(application(engine), port=port, interface=Interfaces.ASGINL, log_enabled=False)
        self._serving = asyncio.create_task(self._server.serve())
        await _listening(("127.0.0.1", port))
        return partial(TcpRawClient.to, ("127.0.0.1", port))

    async def close(self) -> None:
        self._server.stop()  # type: ignore[no-untyped-call]
        await within(self._serving)


ASGI_SERVERS: Mapping[str, Callable[[], EngineServer]] = {
    "uvicorn-websockets": lambda: Uvicorn("websockets"),
    "uvicorn-sansio": lambda: Uvicorn("websockets-sansio"),
    "uvicorn-wsproto": lambda: Uvicorn("wsproto"),
    "uvicorn-httptools": lambda: Uvicorn("websockets-sansio", http="httptools"),
    "hypercorn": Hypercorn,
    "granian": Granian,
}


def application(engine: Engine) -> Any:
    """Return the engine as an ASGI application that ignores the lifespan."""
    assert isinstance(engine, CanServe)

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await engine.serve(scope, receive, send)

    return serve


async def _listening(address: tuple[str, int]) -> None:
    """Wait until a server accepts connections."""
    async with asyncio.timeout(10.0):
        while True:
            try:
                _, writer = await asyncio.open_connection(*address)
            except OSError:
                await asyncio.sleep(0)
            else:
                writer.close()
                await writer.wait_closed()
                return
