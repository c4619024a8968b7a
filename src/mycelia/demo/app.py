"""The whole application: three subsystems on one message system, served on one port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mycelia import MessageSystem
from mycelia.demo.chat import Chat
from mycelia.demo.pages import load_pages
from mycelia.demo.tools import make_tools
from mycelia.websocket import WebSocketSubsystem

__all__ = ["serving"]

MAX_PAYLOAD = 64 * 1024  # a chat needs no more, and whatever a client may send, the server may have to hold


@asynccontextmanager
async def serving(host: str = "127.0.0.1", port: int = 8080) -> AsyncIterator[str]:
    """Serves the page at `/` and the socket at `/ws` until it is left; yields the address of the page.

    Raises the `OSError` of a failed bind; then nothing is left running.
    """
    system = MessageSystem("demo")
    make_tools(system)
    chat = Chat(system)
    sockets = WebSocketSubsystem(
        ms=system,
        config={
            "websocket": {
                "host": host,
                "port": port,
                "path": "/ws",
                "http": load_pages().get,
                "options": {"max_payload": MAX_PAYLOAD},
            }
        },
    )
    sockets.register_route("websocket://disconnect", chat.leave)
    async with system:  # builds and starts all three; on the way out stops and disposes of them
        yield f"http://{f'[{host}]' if ':' in host else host}:{sockets.websocket.get_port()}/"
