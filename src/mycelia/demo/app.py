"""The whole application: three subsystems on one message system, served on one port; on a second one, if asked for, for
Socket.IO and SockJS clients.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mycelia import MessageSystem
from mycelia.demo.chat import Chat
from mycelia.demo.pages import load_pages
from mycelia.demo.tools import make_tools
from mycelia.scheduling.rate_limiter import Rate
from mycelia.server import ServerSubsystem
from mycelia.websocket import WebSocketSubsystem

__all__ = ["address_of", "make_system", "serving"]

MAX_PAYLOAD = 64 * 1024  # a chat needs no more, and whatever a client may send, the server may have to hold
OTHERS = (("socketio", "/socket.io"), ("sockjs", "/sockjs"))  # engines of the second port, and where
RATE = Rate(100, 60.0)  # messages of one client: more than anybody types


@asynccontextmanager
async def serving(host: str = "127.0.0.1", port: int = 8080, beside: int | None = None) -> AsyncIterator[str]:
    """Serves the page at `/` and the socket at `/ws` until it is left; yields the address of the page.

    With `beside`, a second port, also Socket.IO and SockJS clients (see `make_system`).

    Raises the `OSError` of a failed bind; then nothing is left running.
    """
    system, sockets = make_system(host, port, beside)
    async with system:  # builds and starts all three; on the way out stops and disposes of them
        yield address_of(sockets, host)


def address_of(sockets: WebSocketSubsystem, host: str) -> str:
    """Where the page is, once the subsystem listens."""
    return f"http://{f'[{host}]' if ':' in host else host}:{sockets.websocket.get_port()}/"


def make_system(host: str, port: int, beside: int | None = None) -> tuple[MessageSystem, WebSocketSubsystem]:
    """The three subsystems, not built yet.

    On a second port, `beside`, a ServerSubsystem lets Socket.IO and SockJS clients into the same chat. That one needs
    an ASGI server: `mycelia[uvicorn]`.
    """
    system = MessageSystem("demo")
    make_tools(system)
    chat = Chat(system)
    options = {"max_payload": MAX_PAYLOAD}
    page = {"host": host, "port": port, "path": "/ws", "http": load_pages().get, "options": options}
    others = [{"type": each, "path": path, "options": options} for each, path in OTHERS]
    sockets = WebSocketSubsystem(
        ms=system,
        config={
            "websocket": [page] if beside is None else [page, *others],
            "limits": {"rate_per_connection": RATE},
            "drain": {"window": 0.5},  # whoever stops a demo is waiting for it
        },
    )
    sockets.register_route("websocket://disconnect", chat.leave)
    if beside is not None:
        ServerSubsystem(ms=system, config={"server": {"host": host, "port": beside}})
    return system, sockets
