"""`subsystem.asgi`: the subsystem as an ASGI 3 application, to be mounted in another one or to be the whole of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from mycelia.asgi.scope import NOT_SERVING, Receive, Scope, Send, answer, path_of, refuse
from mycelia.errors import ConfigError
from mycelia.kernel.subsystem import BaseSubsystem
from mycelia.realtime.config.config import load_config
from mycelia.realtime.endpoint import served
from mycelia.serving.lifespan import NotStartedWarning, run_lifespan
from mycelia.transports.seam import CanServe
from mycelia.transports.socketio.uvicorn_bridge import CanBridge, ProtocolSwitch, UvicornBridge

__all__ = ["Application", "AsgiApplication"]

Application = Callable[[Any, Any, Any], Awaitable[None]]
"""Any ASGI 3 application."""


class AsgiApplication:
    """Gives each request to the endpoint whose path it has, below whatever it is mounted at.

    At the root of a server it enters the message system at `lifespan.startup` and leaves it at `lifespan.shutdown`.
    Mounted in an application that owns the lifespan it gets none; that one says `async with system` in its own. Until
    the subsystem is started everybody gets 503, and the log says once why.
    """

    def __init__(self, subsystem: BaseSubsystem) -> None:
        """Raises ConfigError when no endpoint is of a type that ASGI servers can serve."""
        config = load_config(subsystem.config)
        self._subsystem, self._not_started = subsystem, NotStartedWarning(subsystem)
        self._served = served(config.websocket)
        if not self._served:
            types = ", ".join(each.type for each in config.websocket)
            problem = f"expected an endpoint that an ASGI server can serve (asgi, socketio, sockjs), got {types}"
            raise ConfigError("websocket.type", problem)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await run_lifespan(self._subsystem, receive, send)
        elif kind in ("websocket", "http"):
            await self._serve(scope, receive, send)
        else:
            raise ValueError(f"expected a scope of type lifespan, websocket or http, got {kind!r}")

    def takes(self, scope: Scope) -> bool:
        """Whether a request is for one of the endpoints, by its path."""
        return scope["type"] in ("websocket", "http") and self._find(scope) is not None

    async def close(self) -> None:
        """Closes the connections to its endpoints (1001), for their server stops; returns when they are gone."""
        facet = self._subsystem.find("websocket")
        if facet is not None:
            await facet.close_served()

    def beside(self, other: Application) -> Application:
        """An application in which this one has its endpoints and the lifespan, and `other` everything else.

        For hosts that cannot mount and know no lifespan, as Django.
        """

        async def both(scope: Scope, receive: Receive, send: Send) -> None:
            mine = scope["type"] == "lifespan" or self.takes(scope)
            await (self if mine else other)(scope, receive, send)

        return both

    def websockets(self, **settings: Any) -> ProtocolSwitch:
        """What uvicorn may be given as `ws`: `uvicorn.run(sockets.asgi, ws=sockets.asgi.websockets)`.

        WebSockets of `socketio` endpoints, at their very path, are then read by us, as by the engine picows; all others
        are uvicorn's as ever.
        """
        return ProtocolSwitch(self._find_bridge, settings)

    # -- inside --------------------------------------------------------------------------------------

    def _find_bridge(self, path: str) -> UvicornBridge | None:
        facet = self._subsystem.find("websocket")
        for each in self._served if facet is not None else ():
            if path.rstrip("/") == each.own:
                engine = facet.engines[each.at]
                return engine.bridge if isinstance(engine, CanBridge) else None
        return None

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        facet = self._subsystem.find("websocket")
        at, path = self._find(scope) or (self._served[0].at, path_of(scope))  # that one says what it has to say
        engine = None if facet is None else facet.engines[at]
        if isinstance(engine, CanServe):
            await engine.serve(scope, receive, send, path)
            return
        self._not_started.warn()
        with suppress(OSError):  # it left without its answer
            await (answer if scope["type"] == "http" else refuse)(scope, send, NOT_SERVING)

    def _find(self, scope: Scope) -> tuple[int, str] | None:
        """The endpoint for a request, by its place in the configuration, and the path that it is to see."""
        path, root = path_of(scope), str(scope.get("root_path") or "").rstrip("/")
        for each in self._served:
            if path.rstrip("/") == each.own and not each.below:  # Litestar adds a slash
                return each.at, each.path
            if path == each.path or (each.below and path.startswith(f"{each.own}/")):
                return each.at, path
            if each.own and root.endswith(each.own) and (each.below or path == "/"):  # it is mounted at its own path
                return each.at, f"{each.own}{path}" if each.below else each.path
        return None
