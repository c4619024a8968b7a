"""The whole application: three subsystems on one message system, served on one port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mycelia import MessageSystem
from mycelia.demo.chat import Chat
from mycelia.demo.pages import load_pages
from mycelia.demo.tools import make_tools
from mycelia.kernel.rate import Rate
from mycelia.websocket import WebSocketSubsystem

__all__ = ["address_of", "make_system", "serving"]

MAX_PAYLOAD = 64 * 1024  # a chat needs no more, and whatever a client may send, the server may have to hold
RATE = Rate(100, 60.0)  # messages of one client: more than anybody types


@asynccontextmanager
async def serving(host: str = "127.0.0.1", port: int = 8080) -> AsyncIterator[str]:
    """Serves the page at `/` and the socket at `/ws` until it is left; yields the address of the page.

    Raises the `OSError` of a failed bind; then nothing is left running.
    """
    system, sockets = make_system(host, port)
    async with system:  # builds and starts all three; on the way out stops and disposes of them
        yield address_of(sockets, host)


def address_of(sockets: WebSocketSubsystem, host: str) -> str:
    """Where the page is, once the subsystem listens."""
    return f"http://{f'[{host}]' if ':' in host else host}:{sockets.websocket.get_port()}/"


def make_system(host: str, port: int) -> tuple[MessageSystem, WebSocketSubsystem]:
    """The three subsystems, not built yet."""
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
            },
            "limits": {"rate_per_connection": RATE},
            "drain": {"window": 0.5},  # whoever stops a demo is waiting for it
        },
    )
    sockets.register_route("websocket://disconnect", chat.leave)
    return system, sockets
