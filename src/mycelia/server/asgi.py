"""`subsystem.asgi`: the subsystem as an ASGI 3 application, for its own HTTP server or for another one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

from mycelia.asgi.scope import NOT_SERVING, Receive, Scope, Send, answer, refuse
from mycelia.errors import ConfigError
from mycelia.kernel.subsystem import BaseSubsystem
from mycelia.kernel.system import SystemMember
from mycelia.protocol.http.request import HttpReply
from mycelia.serving.lifespan import NotStartedWarning, run_lifespan

__all__ = ["CanTake", "HttpService", "ServerApplication"]

_NO_WEBSOCKETS = HttpReply(404, b"there is no WebSocket here\n")


@runtime_checkable
class CanTake(Protocol):
    """The ASGI application of another subsystem that knows its requests, as `WebSocketSubsystem.asgi` does."""

    def takes(self, scope: Scope) -> bool:
        """Return True if a request is for this application."""

    async def close(self) -> None:
        """Close all connections, because their server stops. Return when they are gone or time is up."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class HttpService(Protocol):
    """The service behind the ASGI application: the parts of a built subsystem.

    Attributes:
        is_running: Returns True if the server is running.
        is_closing: True while the port is being closed. No WebSocket may be opened then.
    """

    is_running: Callable[[], bool]
    is_closing: bool

    def mounted(self, scope: Scope) -> tuple[Any, Scope] | None:
        """Return the mounted application for a request, and the scope for it."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""


class ServerApplication:
    """An ASGI application that passes each request to the part that answers it.

    The parts are the mounted applications, the endpoints of a WebSocketSubsystem in the same system, and the routes and
    files of the subsystem.

    At the root of another server, it starts the message system at `lifespan.startup` and stops it at
    `lifespan.shutdown`. The subsystem then does not listen itself, whatever `server.type` is.

    Args:
        subsystem: The ServerSubsystem.
        with_sockets: True if the endpoints of a WebSocketSubsystem are served, too (`server.sockets`).

    Attributes:
        service: The service of the facet while the subsystem is built, else None.
        is_hosted: True while another server runs the system through the lifespan.
    """

    def __init__(self, subsystem: BaseSubsystem, with_sockets: bool) -> None:
        self.service: HttpService | None = None
        self.is_hosted = False
        self._subsystem, self._with_sockets = subsystem, with_sockets
        self._not_started = NotStartedWarning(subsystem)
        self._neighbours: list[SystemMember] = []  # the subsystems among which `_sockets` was found
        self._sockets: CanTake | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope. Raise ValueError for an unknown type of scope."""
        kind = scope["type"]
        if kind == "lifespan":
            self.is_hosted = True
            try:
                await run_lifespan(self._subsystem, receive, send)
            finally:
                self.is_hosted = False
        elif kind in ("websocket", "http"):
            await self._serve(scope, receive, send)
        else:
            raise ValueError(f"expected a scope of type lifespan, websocket or http, got {kind!r}")

    async def close_sockets(self) -> None:
        """Close the connections of the WebSocketSubsystem that this application serves."""
        sockets = self.sockets()
        if sockets is not None:
            await sockets.close()

    def sockets(self) -> CanTake | None:
        """Return the application of the first other subsystem that ASGI servers can serve; None if there is none.

        The search goes by the attribute `asgi`, so that HTTP does not depend on WebSockets.
        """
        system = self._subsystem.ms
        if system is None or not self._with_sockets:
            return None
        neighbours = [*system.subsystems.values()]
        if neighbours != self._neighbours:
            offered = (_application_of(each) for each in neighbours if each is not self._subsystem)
            self._sockets = next((each for each in offered if isinstance(each, CanTake)), None)
            self._neighbours = neighbours
        return self._sockets

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self.service
        mounted = None if service is None else service.mounted(scope)
        if mounted is not None:
            await mounted[0](mounted[1], receive, send)
            return
        is_closing = service is not None and service.is_closing
        sockets = None if is_closing else self.sockets()
        if sockets is not None and (scope["type"] == "websocket" or sockets.takes(scope)):
            await sockets(scope, receive, send)  # It also rejects a WebSocket whose path it does not have.
        elif scope["type"] == "http" and service is not None and service.is_running():
            await service.serve(scope, receive, send)
        else:
            self._not_started.warn()
            reply = _NO_WEBSOCKETS if scope["type"] == "websocket" and not is_closing else NOT_SERVING
            with suppress(OSError):  # The client disconnected.
                await (answer if scope["type"] == "http" else refuse)(scope, send, reply)


def _application_of(subsystem: SystemMember) -> object:
    try:
        return getattr(subsystem, "asgi", None)
    except ConfigError:  # It has no endpoint that an ASGI server can serve.
        return None
