"""python-socketio on uvicorn: `socketio_server.py PORT rpc`. One event, answered by its acknowledgement."""

# mypy: ignore-errors
# (its libraries live in an environment of their own, which mypy does not see)

import sys
from typing import Any

import socketio
import uvicorn

server = socketio.AsyncServer(async_mode="asgi", transports=["websocket"], cors_allowed_origins="*")


@server.on("echo")
async def echo(sid: str, body: Any) -> dict[str, Any]:
    return {"success": True, "data": body}


if __name__ == "__main__":
    uvicorn.run(
        socketio.ASGIApp(server),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        loop="uvloop",
        ws_per_message_deflate=False,
    )
