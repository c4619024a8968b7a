"""`subsystem.asgi`: the subsystem as an ASGI 3 application, whoever serves it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mycelia.asgi.scope import NOT_SERVING, Receive, Scope, Send, answer, refuse
from mycelia.errors import ConfigError
from mycelia.protocol.ws.handshake import HttpReply
from mycelia.serving.lifespan import Reminder, live

if TYPE_CHECKING:
    from mycelia.kernel.subsystem import BaseSubsystem
    from mycelia.server.subsystem import ServerSubsystem

__all__ = ["CanTake", "ServerApplication"]

_NO_SOCKETS = HttpReply(404, b"there is no WebSocket here\n")


@runtime_checkable
class CanTake(Protocol):
    """An ASGI application of a neighbour that says which requests are for it, as `WebSocketSubsystem.asgi` does."""

    def takes(self, scope: Scope) -> bool: ...

    async def close(self) -> None:
        """Ends the connections that it has, for their server stops; returns when they are gone, or time is up."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class ServerApplication:
    """Gives each request to whom it is for: a mounted application, the endpoints of a WebSocketSubsystem of the same
    system, or the routes and files of the subsystem.

    At the root of a server it enters the message system at `lifespan.startup` and leaves it at `lifespan.shutdown`;
    then nothing listens but that server, whatever `server.type` says.
    """

    def __init__(self, subsystem: ServerSubsystem) -> None:
        self._subsystem, self._reminder = subsystem, Reminder(subsystem)
        self._neighbours: list[BaseSubsystem] = []  # who was there when `_sockets` was looked for
        self._sockets: CanTake | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            self._subsystem.hosted = True
            try:
                await live(self._subsystem, receive, send)
            finally:
                self._subsystem.hosted = False
        elif kind in ("websocket", "http"):
            await self._serve(scope, receive, send)
        else:
            raise ValueError(f"expected a scope of type lifespan, websocket or http, got {kind!r}")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        facet = self._subsystem.find("server")
        found = None if facet is None else facet.mounted(scope)
        if found is not None:
            await found[0](found[1], receive, send)
            return
        closing = facet is not None and facet.closing
        sockets = None if closing else self.sockets()
        if sockets is not None and (scope["type"] == "websocket" or sockets.takes(scope)):
            await sockets(scope, receive, send)  # a WebSocket that it does not take is told so there
        elif scope["type"] == "http" and facet is not None and facet.is_running():
            await facet.dispatch.serve(scope, receive, send)
        else:
            self._reminder.remind()
            reply = _NO_SOCKETS if scope["type"] == "websocket" and not closing else NOT_SERVING
            with suppress(OSError):  # it left without its answer
                await (answer if scope["type"] == "http" else refuse)(scope, send, reply)

    async def close_sockets(self) -> None:
        """Ends the connections of `sockets`."""
        sockets = self.sockets()
        if sockets is not None:
            await sockets.close()

    def sockets(self) -> CanTake | None:
        """The endpoints of the system's other subsystems that ASGI servers can serve; None for none.

        They are found by what they offer, so that HTTP need not know WebSockets.
        """
        system = self._subsystem.ms
        if system is None or not self._subsystem.with_sockets:
            return None
        neighbours = [*system.subsystems.values()]
        if neighbours != self._neighbours:
            offered = (_offered(each) for each in neighbours if each is not self._subsystem)
            self._sockets = next((each for each in offered if isinstance(each, CanTake)), None)
            self._neighbours = neighbours
        return self._sockets


def _offered(subsystem: BaseSubsystem) -> object:
    try:
        return getattr(subsystem, "asgi", None)
    except ConfigError:  # none of its endpoints is of such a type
        return None
