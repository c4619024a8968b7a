"""The applications that other people's servers serve in `test_asgi.py`: functions that make them.

`root` is ours by itself, the others are frameworks that ours is mounted in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mycelia import BaseSubsystem, ConnectionNotFound, MessageSystem
from mycelia.websocket import WebSocketSubsystem

__all__ = ["Application", "litestar", "root", "socketio", "starlette"]

MOST = 128 * 1024


class Application:
    """The system, and what its handlers were told."""

    def __init__(self) -> None:
        self.system = MessageSystem("main")
        self.routes = BaseSubsystem("app", ms=self.system)
        endpoint = {"type": "asgi", "path": "/ws", "max_payload": MOST, "subprotocols": ["chat"]}
        # Whoever does not read is given up soon; half a second is long for a client on the same machine.
        config = {"websocket": endpoint, "connection": {"close_timeout": 0.5}}
        self.sockets = WebSocketSubsystem("websocket", ms=self.system, config=config)
        self.told: list[dict[str, Any]] = []
        for path, handler in (
            ("app://echo", self.echo),
            ("app://who", self.who),
            ("app://told", lambda: self.told),
            ("app://close/{code}", self.close),
            ("app://shout", self.shout),
            ("app://flood/{count}", self.flood),
        ):
            self.routes.register_route(path, handler, expose=True, safe=True)
        self.sockets.register_connection_handler("connect", self.connect)
        self.sockets.register_connection_handler("disconnect", self.disconnect)

    def echo(self, body: Any) -> Any:
        return body

    def who(self, connection: Any) -> dict[str, Any]:
        client = connection.client
        native = type(connection.socket).__name__
        return {"engine": client.engine, "path": client.path, "remote": client.remote_address, "native": native}

    def close(self, connection: Any, code: int) -> None:
        connection.close(code, "as you wish")

    async def shout(self, body: Any) -> int:
        result = await self.sockets.websocket.broadcast({"event": "shout", "data": body})
        return int(result.written)

    async def flood(self, connection: Any, count: int) -> None:
        """Sends more than the client reads, until it is closed for that."""
        try:
            for number in range(count):
                await connection.send({"event": "flood", "data": f"{number:8}" * 8192})
        except ConnectionNotFound:
            self.told.append({"code": "flooded"})

    async def connect(self, message: Any, params: Any, options: Any) -> Any:
        refused = "refuse" in message.body["query"]
        return {"success": False, "error": {"code": "FORBIDDEN"}} if refused else {"success": True}

    async def disconnect(self, message: Any, params: Any, options: Any) -> None:
        self.told.append({"code": message.body["code"], "accepted": message.body["accepted"]})

    @asynccontextmanager
    async def lifespan(self, host: Any) -> AsyncIterator[None]:
        """For hosts that own the lifespan."""
        async with self.system:
            yield


def root() -> Any:
    return Application().sockets.asgi


def socketio() -> Any:
    from tests.integration.socketio_app import application

    return application()


def starlette() -> Any:
    from starlette.applications import Starlette
    from starlette.routing import Mount, WebSocketRoute

    made = Application()
    routes = [WebSocketRoute("/ws", made.sockets.asgi), Mount("/live", made.sockets.asgi)]
    return Starlette(routes=routes, lifespan=made.lifespan)


def litestar() -> Any:
    from litestar import Litestar, asgi

    made = Application()

    @asgi("/live", is_mount=True, copy_scope=True)
    async def live(scope: Any, receive: Any, send: Any) -> None:
        await made.sockets.asgi(scope, receive, send)

    return Litestar(route_handlers=[live], lifespan=[made.lifespan])
