"""The server facet: what `subsystem.server` offers."""

from __future__ import annotations

import logging
from typing import Any, Unpack

from mycelia.asgi.scope import Scope
from mycelia.kernel.system import MessageSystem
from mycelia.net.listen_address import urls_of
from mycelia.server.asgi import ServerApplication
from mycelia.server.config import Config
from mycelia.server.content.probes import check_no_probe
from mycelia.server.core import ServerCore
from mycelia.server.endpoint import RunningServer, certificates_of, check_capabilities, check_renewal, engine_options
from mycelia.server.engines.seam import Application
from mycelia.server.exposure_report import report_exposure
from mycelia.server.router import HttpRoute, HttpSettings
from mycelia.serving.listening_facet import ListeningFacet

__all__ = ["ServerFacet"]

logger = logging.getLogger("mycelia.server")


class ServerFacet(ListeningFacet):
    """The HTTP server and the table of routes of one ServerSubsystem.

    Args:
        config: The configuration.
        system: The message system.
        application: The ASGI application of the subsystem.
    """

    def __init__(self, config: Config, system: MessageSystem, application: ServerApplication) -> None:
        check_capabilities(config.server)
        self.config = config
        self._system, self._application = system, application
        self.core = ServerCore(config, system, self._engine_name, self.is_running)
        self._server: RunningServer | None = None
        super().__init__("HTTP", self.core.errors, certificates_of(config.server), logger)

    # -- server ------------------------------------------------------------------------------------

    async def drain(self, deadline: float = 30.0) -> None:
        """Take no new requests, and finish those that run.

        The server reports that it is not ready, and new requests get 503. It still listens until `stop`, for probes and
        for the WebSockets that it serves.

        Args:
            deadline: How long to wait for running requests, in seconds.
        """
        self.core.limiter.is_accepting = False
        await self.core.limiter.wait_until_idle(deadline)

    async def init(self) -> None:
        """Let the ASGI application use this facet."""
        self._application.service = self.core

    async def dispose(self) -> None:
        """Stop the server and release all resources."""
        await self.stop()
        self._application.service = None
        await self.core.close()

    def is_accepting(self) -> bool:
        """Return True if the server takes new requests. It does not while it drains or stops."""
        return self._running and self.core.is_accepting()

    def get_address(self) -> tuple[str, int] | None:
        """Return the first host and port on which the server listens.

        Returns:
            None if it does not listen itself, or listens in the file system.
        """
        return None if self._server is None else next(iter(self._server.addresses), None)

    def get_urls(self) -> list[str]:
        """Return the URLs at which clients reach the server, such as `https://192.0.2.1:8443`.

        Returns:
            No URL if another server serves the subsystem. The URL of a socket file is `http+unix:/run/app.sock`.
        """
        return [] if self._server is None else urls_of("http", self.config.server, self._server.addresses)

    def reload_certificates(self) -> None:
        """Read certificate and key again. New connections use them; open connections are not affected.

        Raises:
            ConfigError: A file is missing, or certificate and key do not match. The old certificate stays in use. Also
                if the HTTP server cannot renew its certificate (granian).
        """
        if self._certificates is not None:
            check_renewal(self.config.server)
            super().reload_certificates()

    # -- routes ------------------------------------------------------------------------------------

    def register_mycelia_route(
        self, method: str, path: str, target: str, *, replace: bool = False, **settings: Unpack[HttpSettings]
    ) -> HttpRoute:
        """Register a route: HTTP requests for `method` and `path` are answered by the Mycelia path `target`.

        The route exposes the target to HTTP clients, and only through this route. The target need not be exposed, or
        exist yet. Parameters of the target come from the path, else from the body. The route lasts until `dispose`. Use
        the method of this name of the subsystem for a route that lasts for every build.

        Args:
            method: An HTTP method in capital letters.
            path: The path, not percent-encoded, such as "/users/{id}".
            target: The Mycelia path, such as "user://get/{id}".
            replace: True to replace a route with the same method and path.
            settings: The settings of the route; see `HttpRoute.of`.

        Returns:
            The route.

        Raises:
            RouteError: An argument is invalid, or the method and path are taken.
        """
        route = HttpRoute.of(method, path, target, **settings)
        check_no_probe(route, self.config.health)
        self.core.router.add(route, replace)
        return route

    def unregister_mycelia_route(self, method: str, path: str) -> bool:
        """Remove a route.

        Args:
            method: The HTTP method.
            path: The path of the route.

        Returns:
            False if there is no such route.
        """
        return self.core.router.remove(method, path)

    def get_routes(self) -> list[HttpRoute]:
        """Return a snapshot of the HTTP routes."""
        return list(self.core.router)

    def mount(self, prefix: str, application: Application) -> None:
        """Mount another ASGI application: it answers everything at and below a prefix.

        The application sees the prefix as part of its `root_path`. Its lifespan is not run.

        Args:
            prefix: The prefix, such as "/admin".
            application: The ASGI application.

        Raises:
            RouteError: The prefix is invalid or taken.
        """
        self.core.mounts.add(prefix, application)

    def mounted(self, scope: Scope) -> tuple[Application, Scope] | None:
        """Return the mounted application for a request.

        Args:
            scope: The ASGI scope of the request.

        Returns:
            The application, and the scope for it; None if no application is mounted there. The longest prefix wins.
        """
        return self.core.mounted(scope)

    # -- reports -----------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return the counts of requests, running requests and refused requests; part of `system.statistics()`."""
        limiter = self.core.limiter
        return {
            "requests": limiter.total,
            "running": limiter.running,
            "refused": limiter.refused,
            "routes": len(self.core.router),
            "errors": self.core.errors.total,
            "accepting": self.is_accepting(),
        }

    # -- inside ------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        server = self.config.server
        self._running = self.core.limiter.is_accepting = True  # before the first request comes
        if self._is_served_by_another():
            return
        try:
            if self._certificates is not None:
                self._certificates.reload()
            options = engine_options(self.config, self._certificates)
            self._server = await RunningServer.start(server, self._application, options)
        except BaseException:
            self.core.limiter.is_accepting = False
            raise

    async def _shut_down(self) -> None:
        limiter, seconds = self.core.limiter, self.config.limits.close_timeout
        limiter.is_accepting = False
        if not await limiter.wait_until_idle(seconds):
            await limiter.cancel_all(seconds)
        running, self._server = self._server, None
        if running is not None:
            self.core.is_closing = True
            try:
                await self._application.close_sockets()  # while their clients can still receive a Close
                await running.stop()
            finally:
                self.core.is_closing = False

    def _report_start(self) -> None:
        server = self.config.server
        if self._application.is_hosted and (server.tls is not None or server.unix_socket is not None):
            logger.warning("server.tls and server.unix_socket have no effect, because another server listens")
        logger.info("serving with %s on %s", server.type, " and ".join(self.get_urls()) or "another server")
        is_required = self.config.authentication.mode == "required"
        report_exposure(self.core.router, self._system, is_required=is_required)

    def _is_served_by_another(self) -> bool:
        return self.config.server.type == "asgi" or self._application.is_hosted

    def _engine_name(self) -> str:
        return "asgi" if self._application.is_hosted else self.config.server.type
