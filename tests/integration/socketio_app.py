"""The application that `test_socketio.py` has served: functions that make it."""

from __future__ import annotations

from typing import Any

from mycelia import BaseSubsystem, Message, MessageSystem
from mycelia.websocket import WebSocketSubsystem

__all__ = ["application"]


def application() -> Any:
    """A Socket.IO endpoint at /socket.io and a plain one at /ws, of one subsystem."""
    system = MessageSystem("main")
    routes = BaseSubsystem("app", ms=system)
    endpoints = [
        {"type": "socketio", "path": "/socket.io", "options": {"namespaces": ["/", "/admin"]}},
        {"type": "asgi", "path": "/ws"},
    ]
    heartbeat = {"ping_interval": 0.3, "ping_timeout": 0.9, "close_timeout": 0.5}
    sockets = WebSocketSubsystem("websocket", ms=system, config={"websocket": endpoints, "connection": heartbeat})

    async def connect(message: Any, params: Any, options: Any) -> Any:
        refused = message.body["token"] == "wrong"
        return {"success": False, "error": {"code": "FORBIDDEN"}} if refused else None

    async def shout(body: Any) -> Any:
        return await system.send(Message("websocket://broadcast", {"event": "shout", "data": body}))

    async def confirm(connection: Any) -> Any:
        return await connection.request("client://confirm", {"sure": True}, timeout=5)

    async def close(connection: Any, code: int) -> None:
        connection.close(code, "as you wish")

    for path, handler in (
        ("app://echo", lambda body: body),
        ("app://who", lambda connection: [connection.client.engine, connection.id]),
        ("app://double", lambda body: {"data": body["data"] * 2}),
        ("app://shout", shout),
        ("app://confirm", confirm),
        ("app://close/{code}", close),
    ):
        routes.register_route(path, handler, expose=True)
    sockets.register_connection_handler("connect", connect)
    return sockets.asgi
