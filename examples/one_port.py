"""HTTP, WebSocket and Socket.IO on one port: `python -m examples.one_port`, then http://127.0.0.1:8000/.

`curl -X POST http://127.0.0.1:8000/notices -H 'Content-Type: application/json' -d '{"text": "hello"}'` reaches every
client at `ws://127.0.0.1:8000/ws` and every Socket.IO client. `uvicorn examples.one_port:application` serves the same.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import msgspec

from mycelia import BaseSubsystem, MessageSystem
from mycelia.server import ServerSubsystem
from mycelia.websocket import WebSocketSubsystem


class Notice(msgspec.Struct):
    text: str


system = MessageSystem("main")
board = BaseSubsystem("board", ms=system)
sockets = WebSocketSubsystem(
    "websocket",
    ms=system,
    config={"websocket": [{"type": "asgi", "path": "/ws"}, {"type": "socketio", "path": "/socket.io"}]},
)
server = ServerSubsystem(
    "server",
    ms=system,
    config={
        "server": {"host": "127.0.0.1", "port": int(os.environ.get("PORT", "8000"))},
        "limits": {"close_timeout": 1.0},
    },
)
application = server.asgi
notices: list[str] = []


@board.route("board://pin")
async def pin(body: Notice) -> dict[str, int]:
    notices.append(body.text)
    heard = await sockets.websocket.broadcast({"event": "pinned", "data": {"text": body.text}})
    return {"number": len(notices), "heard": heard.written}


@board.route("board://list", expose=True, safe=True)
async def everything() -> list[str]:
    """Exposed, so that WebSocket clients may ask as well."""
    return notices


@board.route("board://get/{number}", safe=True)
async def one(number: int) -> Any:
    if not 0 < number <= len(notices):
        return {"success": False, "error": {"code": "NOT_FOUND", "message": "no such notice"}}
    return {"text": notices[number - 1]}


server.register_mycelia_route("POST", "/notices", "board://pin", status=201)
server.register_mycelia_route("GET", "/notices", "board://list")
server.register_mycelia_route("GET", "/notices/{number}", "board://get/{number}")


if __name__ == "__main__":
    asyncio.run(system.run_until_signal(started=lambda: print(f"serving on port {server.server.get_port()}")))
