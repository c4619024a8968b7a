"""A chat in a FastAPI application: `uvicorn examples.fastapi_chat:app`, then `ws://127.0.0.1:8000/live/ws`.

FastAPI owns the lifespan, so it starts and stops the message system. Its own routes reach every client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from mycelia import BaseSubsystem, MessageSystem
from mycelia.websocket import WebSocketSubsystem

system = MessageSystem("main")
chat = BaseSubsystem("chat", ms=system)
sockets = WebSocketSubsystem("websocket", ms=system, config={"websocket": {"type": "asgi", "path": "/ws"}})


@chat.route("chat://say", expose=True)
async def say(body: dict[str, Any]) -> dict[str, int]:
    heard = await sockets.websocket.broadcast({"event": "said", "data": body})
    return {"heard": heard.written}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with system:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/announce/{text}")
async def announce(text: str) -> dict[str, int]:
    heard = await sockets.websocket.broadcast({"event": "announced", "data": text})
    return {"heard": heard.written}


app.mount("/live", sockets.asgi)
