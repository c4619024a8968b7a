"""What somebody else's server serves in `test_server.py`: HTTP and sockets, by the lifespan of that server."""

from __future__ import annotations

from typing import Any

from mycelia import BaseSubsystem, MessageSystem
from mycelia.server import ServerSubsystem
from mycelia.websocket import WebSocketSubsystem

__all__ = ["application"]


def application() -> Any:
    system = MessageSystem("main")
    app = BaseSubsystem("app", ms=system)
    WebSocketSubsystem("websocket", ms=system, config={"websocket": {"type": "asgi", "path": "/ws"}})
    server = ServerSubsystem("server", ms=system)

    def get(id: str, connection: Any) -> dict[str, Any]:
        return {"id": id, "engine": connection.client.engine, "port": server.server.get_port()}

    app.register_route("app://get/{id}", get)
    app.register_route("app://echo", lambda body: body, expose=True)
    server.register_mycelia_route("GET", "/users/{id}", "app://get/{id}")
    return server.asgi
