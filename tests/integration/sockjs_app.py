"""The application that `test_sockjs.py` has served: functions that make it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mycelia import BaseSubsystem, MessageSystem
from mycelia.protocol.http.request import Handshake, HttpReply
from mycelia.websocket import WebSocketSubsystem
from tests.integration.app_routes import expose_routes

__all__ = ["ALLOWED", "application"]

ALLOWED = "MYCELIA_TEST_ORIGINS"  # the variable of the environment that lists other origins
CLIENT = Path(__file__).parents[1] / "clients" / "node_modules" / "sockjs-client" / "dist" / "sockjs.min.js"
PAGE = b"<!doctype html><title>-</title><link rel=icon href=data:,><body><script src=/sockjs.js></script>"


def page(request: Handshake) -> HttpReply | None:
    """A page with the client in it."""
    if request.path == "/sockjs.js":
        return HttpReply(200, CLIENT.read_bytes(), (), "text/javascript")
    return HttpReply(200, PAGE, (), "text/html; charset=utf-8") if request.path == "/" else None


def application() -> Any:
    """A SockJS endpoint at /sockjs, one of Socket.IO at /socket.io and a plain one at /ws, of one subsystem."""
    system = MessageSystem("main")
    routes = BaseSubsystem("app", ms=system)
    options = {"client_url": "/sockjs.js", "response_bytes": 4096, "session_timeout": 1.0}
    origins = os.environ.get(ALLOWED, "").split()
    endpoints: list[dict[str, Any]] = [
        {"type": "asgi", "path": "/ws", "http": page},
        {"type": "sockjs", "path": "/sockjs", "options": options, "allowed_origins": origins},
        {"type": "socketio", "path": "/socket.io"},
    ]
    timing = {"ping_interval": 0.3, "ping_timeout": 0.9, "close_timeout": 0.5}
    sockets = WebSocketSubsystem(
        "websocket", ms=system, config={"websocket": endpoints, "connection": timing, "drain": {"window": 0.2}}
    )
    told: list[Any] = []

    async def connect(message: Any, params: Any, options: Any) -> Any:
        refused = message.body["query"].get("token") == "wrong" or message.body["token"] == "wrong"
        return {"success": False, "error": {"code": "FORBIDDEN"}} if refused else None

    async def disconnect(message: Any, params: Any, options: Any) -> None:
        told.append([message.body["code"], message.body["accepted"]])

    async def drain() -> None:
        draining.add(asyncio.create_task(system.drain(2.0)))

    draining: set[Any] = set()
    own: dict[str, Callable[..., Any]] = {
        "app://who": lambda connection: [connection.client.engine, connection.client.path],
        "app://bytes": lambda: {"data": bytes(range(4))},
        "app://told": lambda: told,
        "app://drain": drain,
    }
    expose_routes(routes, own)
    sockets.register_connection_handler("connect", connect)
    sockets.register_connection_handler("disconnect", disconnect)
    return sockets.asgi
