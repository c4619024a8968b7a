"""The server facet: what `subsystem.server` offers."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Unpack

from mycelia.errors import NotRunning, RouteError
from mycelia.kernel.facet import Facet
from mycelia.protocol.asgi_scope import Scope, encoded, path_of
from mycelia.server.config import Config
from mycelia.server.dispatch import Dispatch
from mycelia.server.engines.base import Application, EngineOptions, HttpEngine, bind, load_engine
from mycelia.server.exposure import announce
from mycelia.server.router import HttpRoute, HttpSettings
from mycelia.server.runtime import Runtime

if TYPE_CHECKING:
    from mycelia.kernel.system import MessageSystem
    from mycelia.server.subsystem import ServerSubsystem

__all__ = ["ServerFacet"]

logger = logging.getLogger("mycelia.server")


class ServerFacet(Facet):
    """HTTP server and table of routes of one ServerSubsystem."""

    def __init__(self, config: Config, system: MessageSystem, subsystem: ServerSubsystem) -> None:
        self.config = config
        self.runtime = Runtime(config, system, subsystem)
        self.dispatch = Dispatch(self.runtime)
        self._mounts: dict[str, Application] = {}
        self._engine: HttpEngine | None = None
        self._address: tuple[str, int] | None = None
        self._moving = asyncio.Lock()
        self._running = False

    # -- server ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listens, unless somebody else serves `subsystem.asgi`.

        Raises NotRunning when it is listening already, the `OSError` of a failed bind, and EngineError for a library
        that is not installed; then nothing listens and `start` may be called again.
        """
        async with self._moving:
            if self._running:
                raise NotRunning("the HTTP server is already running; stop() it first")
            server, subsystem = self.config.server, self.runtime.subsystem
            if server.type != "asgi" and not subsystem.hosted:
                engine = load_engine(server.type)
                sock = await bind(server.host, server.port)
                address = sock.getsockname()[:2]
                self._accept(True)  # before the first request is there
                try:
                    options = EngineOptions(self.config.limits.close_timeout, server.options)
                    await engine.start(subsystem.asgi, sock, options)
                except BaseException:
                    self._accept(False)
                    raise
                self._engine, self._address = engine, (str(address[0]), int(address[1]))
            self._accept(True)
        where = "another's server" if self._address is None else "http://{}:{}".format(*self._address)
        logger.info("serving with %s on %s", server.type, where)
        announce(self.runtime)

    async def drain(self, deadline: float = 30.0) -> None:
        """Not ready from now on: new requests get 503, and those that run finish, if `deadline` allows.

        It goes on listening, for probes and for the sockets that it serves beside, until `stop`.
        """
        self.runtime.accepting = False
        await self.runtime.finish(deadline)

    async def stop(self) -> None:
        """Takes no new requests, lets those that run finish within `limits.close_timeout`, and closes the port.

        Does nothing when it is not running.
        """
        # In a task of its own: whoever calls may be the handler of a request, which is cancelled in the end.
        await asyncio.shield(asyncio.create_task(self._stop(), name="mycelia-stop"))

    async def _stop(self) -> None:
        async with self._moving:
            if not self._running:
                return
            limit = self.config.limits.close_timeout
            self.runtime.accepting = False
            if not await self.runtime.finish(limit):
                await self.runtime.cancel(limit)
            engine, self._engine, self._address = self._engine, None, None
            if engine is not None:
                await engine.stop()
            self._running = False

    async def dispose(self) -> None:
        await self.stop()
        self.runtime.probes.close()
        await self.runtime.authentication.close()

    def is_running(self) -> bool:
        """Whether it serves; also by another's server."""
        return self._running

    def is_accepting(self) -> bool:
        """Whether it would take a new request: not while it drains or stops."""
        return self._running and self.runtime.accepting

    def get_address(self) -> tuple[str, int] | None:
        """Host and port; None when it does not listen itself."""
        return self._address

    def get_port(self) -> int | None:
        """The port, the real one also for `port: 0`."""
        return None if self._address is None else self._address[1]

    # -- routes ------------------------------------------------------------------------------------

    def register_mycelia_route(
        self, method: str, path: str, target: str, *, replace: bool = False, **settings: Unpack[HttpSettings]
    ) -> HttpRoute:
        """Lets the Mycelia path `target` answer `method path`: `("GET", "/users/{id}", "user://get/{id}")`.

        That exposes the target to clients of HTTP, by this route and no other; it need not be exposed, or be there
        yet. Parameters of the target come from the path, else from the body. Raises RouteError for what can be no
        route, and for a taken method and path unless `replace` is set. It lasts until `dispose`; what is given to the
        subsystem's method of this name lasts for every build.
        """
        route = HttpRoute.of(method, path, target, **settings)
        if method in ("GET", "HEAD") and (kind := self.runtime.probes.paths.get(path)) is not None:
            raise RouteError(path, f"is where probes ask; health.{kind} may say another path, or None")
        self.runtime.router.add(route, replace)
        return route

    def unregister_mycelia_route(self, method: str, path: str) -> bool:
        """Takes a route out; False when there is none."""
        return self.runtime.router.remove(method, path)

    def get_routes(self) -> list[HttpRoute]:
        """A snapshot of the HTTP routes."""
        return list(self.runtime.router)

    def mount(self, prefix: str, application: Application) -> None:
        """Gives everything at and below `prefix` to another ASGI application, which sees `prefix` as its `root_path`.

        Its lifespan is its own business. Raises RouteError for what is no prefix, and for a taken one.
        """
        if not prefix.startswith("/") or prefix.endswith("/") or any(sign in prefix for sign in "?#%\\"):
            raise RouteError(prefix, "expected a prefix such as '/admin'")
        if prefix in self._mounts:
            raise RouteError(prefix, "an application is mounted there already")
        self._mounts[prefix] = application

    def mounted(self, scope: Scope) -> tuple[Application, Scope] | None:
        """The mounted application that a request is for, and the scope for it; the longest prefix wins."""
        if not self._mounts:
            return None
        path, root = path_of(scope), str(scope.get("root_path") or "").rstrip("/")
        for prefix in sorted(self._mounts, key=len, reverse=True):
            spelled = encoded(prefix)
            if path == spelled or path.startswith(f"{spelled}/"):
                return self._mounts[prefix], {**scope, "root_path": f"{root}{prefix}"}
        return None

    # -- looking in --------------------------------------------------------------------------------

    def errors(self, body: Any = None) -> dict[str, Any]:
        """The newest failures, `{total, errors}`; `body["limit"]` of them (20). Never the text of an exception."""
        return self.runtime.errors.report(body)

    def snapshot(self) -> dict[str, Any]:
        """Requests, those in flight, and those refused for want of room; part of `system.statistics()`."""
        runtime = self.runtime
        return {
            "requests": runtime.requests,
            "running": runtime.running,
            "refused": runtime.refused,
            "routes": len(runtime.router),
            "errors": runtime.errors.total,
            "accepting": self.is_accepting(),
        }

    # -- inside ------------------------------------------------------------------------------------

    def _accept(self, accepts: bool) -> None:
        self._running = self.runtime.accepting = accepts
