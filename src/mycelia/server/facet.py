"""The server facet: what `subsystem.server` offers."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Unpack

from mycelia.asgi.scope import Scope, encoded, path_of
from mycelia.errors import NotRunning, RouteError
from mycelia.kernel.building.facet import Facet
from mycelia.net.listen_address import urls_of
from mycelia.server.config import Config
from mycelia.server.content.probes import check_no_probe
from mycelia.server.core import Runtime
from mycelia.server.endpoint import Listening, certificates_of, check_abilities, check_renewal, engine_options
from mycelia.server.engines.base import Application
from mycelia.server.exposure_report import announce
from mycelia.server.requests.dispatcher import Dispatch
from mycelia.server.requests.router import HttpRoute, HttpSettings, check_prefix

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
        check_abilities(config.server)
        self._certificates = certificates_of(config.server)
        self._listening: Listening | None = None
        self._moving = asyncio.Lock()
        self._running = False
        self.closing = False  # its port, so that nobody may open a socket there

    # -- server ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listens, unless somebody else serves `subsystem.asgi`.

        Raises NotRunning when it is listening already, the `OSError` of a failed bind, EngineError for a library that
        is not installed, and ConfigError for a certificate that is not there any more; then nothing listens and `start`
        may be called again.
        """
        async with self._moving:
            if self._running:
                raise NotRunning("the HTTP server is already running; stop() it first")
            server, subsystem = self.config.server, self.runtime.subsystem
            self._accept(True)  # before the first request is there
            if server.type != "asgi" and not subsystem.hosted:
                try:
                    if self._certificates is not None:
                        self._certificates.reload()
                    options = engine_options(self.config, self._certificates)
                    self._listening = await Listening.begin(server, subsystem.asgi, options)
                except BaseException:
                    self._accept(False)
                    raise
        if subsystem.hosted and (server.tls is not None or server.unix_socket is not None):
            logger.warning("server.tls and server.unix_socket have no effect: another's server listens")
        logger.info("serving with %s on %s", server.type, " and ".join(self.get_urls()) or "another's server")
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
            listening, self._listening = self._listening, None
            if listening is not None:
                self.closing = True
                try:
                    await self.runtime.subsystem.asgi.close_sockets()  # while they can still be told why
                    await listening.stop()
                finally:
                    self.closing = False
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
        """Host and port, of several the first; None when it does not listen itself, or in the file system."""
        return None if self._listening is None else next(iter(self._listening.addresses), None)

    def get_port(self) -> int | None:
        """The port, the real one also for `port: 0`."""
        address = self.get_address()
        return None if address is None else address[1]

    def get_urls(self) -> list[str]:
        """Where clients find it, if it listens itself: `https://192.0.2.1:8443`, `http+unix:/run/app.sock`."""
        return [] if self._listening is None else urls_of("http", self.config.server, self._listening.addresses)

    def reload_certificates(self) -> None:
        """Reads certificate and key anew: the next handshakes get them, established connections stay.

        Raises ConfigError for files that are missing or do not fit, when the old ones go on, and for a server that can
        not renew (granian).
        """
        if self._certificates is not None:
            check_renewal(self.config.server)
            self._certificates.reload()
            logger.info("certificates have been read anew")

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
        check_no_probe(route, self.config.health)
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
        check_prefix(prefix)
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
