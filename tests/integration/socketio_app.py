"""The application that `test_socketio.py` has served: functions that make it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from mycelia import BaseSubsystem, MessageSystem, RequestTimeout
from mycelia.websocket import WebSocketSubsystem
from tests.integration.app_routes import expose_routes

__all__ = ["application"]


def application() -> Any:
    """A Socket.IO endpoint at /socket.io and a plain one at /ws, of one subsystem; `ORIGINS` lists other pages."""
    system = MessageSystem("main")
    routes = BaseSubsystem("app", ms=system)
    origins = os.environ.get("ORIGINS", "").split()
    options = {"namespaces": ["/", "/admin"]}
    endpoints = [
        {"type": "socketio", "path": "/socket.io", "allowed_origins": origins, "options": options},
        {"type": "asgi", "path": "/ws"},
    ]
    heartbeat = {"ping_interval": 0.3, "ping_timeout": 0.9, "close_timeout": 0.5}
    sockets = WebSocketSubsystem("websocket", ms=system, config={"websocket": endpoints, "connection": heartbeat})

    async def connect(message: Any, params: Any, options: Any) -> Any:
        refused = message.body["token"] == "wrong"
        return {"success": False, "error": {"code": "FORBIDDEN"}} if refused else None

    async def burst(connection: Any, count: int) -> int:
        for number in range(count):
            await connection.send({"event": "burst", "data": number})
        return count

    async def impatient(connection: Any) -> Any:
        try:
            return await connection.request("client://silent", timeout=0.2)
        except RequestTimeout:
            return "too late"

    async def volatile(body: Any) -> Any:
        result = await sockets.websocket.broadcast({"event": "cursor", "data": body}, overflow="volatile")
        return [result.written, result.dropped]

    async def fail() -> Any:
        return {"success": False, "error": "not today"}

    own: dict[str, Callable[..., Any]] = {
        "app://who": lambda connection: [connection.client.engine, connection.id],
        "app://double": lambda body: {"data": body["data"] * 2},
        "app://burst/{count}": burst,
        "app://impatient": impatient,
        "app://volatile": volatile,
        "app://fail": fail,
        "app://blob": lambda body: {"type": type(body["data"]).__name__, "data": [b"\x00", body["data"][:1]]},
    }
    expose_routes(routes, own)
    sockets.register_connection_handler("connect", connect)
    return sockets.asgi
