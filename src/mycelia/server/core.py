"""Wires the parts of one ServerSubsystem. Only the facet imports this module.

Every part gets what it needs through its constructor, so this is the one place that knows all parts.
"""

from __future__ import annotations

from collections.abc import Callable

from mycelia.asgi.scope import Receive, Scope, Send
from mycelia.auth.login_throttle import LoginThrottle
from mycelia.kernel.system import MessageSystem
from mycelia.observability.error_log import ErrorLog
from mycelia.server.config import Config
from mycelia.server.content.probes import Probes
from mycelia.server.content.static import StaticFolders
from mycelia.server.engines.seam import Application
from mycelia.server.mounts import Mounts
from mycelia.server.requests.authentication import RequestAuthentication
from mycelia.server.requests.concurrency_limiter import ConcurrencyLimiter
from mycelia.server.requests.dispatcher import RequestDispatcher
from mycelia.server.requests.handler_call import HandlerCall
from mycelia.server.requests.origin import OriginRules
from mycelia.server.router import HttpRouter

__all__ = ["ServerCore"]


class ServerCore:
    """The parts of one ServerSubsystem.

    Args:
        config: The configuration.
        system: The message system.
        engine_name: Returns the name of the HTTP server that serves the subsystem.
        is_running: Returns True if the facet is running.

    Attributes:
        is_closing: True while the port is being closed. No WebSocket may be opened then.
    """

    def __init__(
        self, config: Config, system: MessageSystem, engine_name: Callable[[], str], is_running: Callable[[], bool]
    ) -> None:
        server, limits = config.server, config.limits
        self.is_running = is_running
        self.is_closing = False
        self.errors = ErrorLog(config.errors, "server")
        self.limiter = ConcurrencyLimiter(limits.max_requests, limits.requests_per_address)
        self.router = HttpRouter()
        self.mounts = Mounts()
        self.probes = Probes(config.health, system.health, self.is_accepting)
        origins = OriginRules(server.allowed_origins)
        throttle = LoginThrottle(limits.failed_logins)
        self.authentication = RequestAuthentication(config.authentication, throttle, origins, self.errors)
        self.dispatcher = RequestDispatcher(
            limits,
            server.allowed_hosts,
            server.keep_headers,
            errors=self.errors,
            limiter=self.limiter,
            probes=self.probes,
            router=self.router,
            static=StaticFolders(server.static),
            origins=origins,
            authentication=self.authentication,
            handlers=HandlerCall(system.resolve, limits.handler_timeout),
            engine_name=engine_name,
        )

    def is_accepting(self) -> bool:
        """Return True if new requests may get a slot."""
        return self.limiter.is_accepting

    def mounted(self, scope: Scope) -> tuple[Application, Scope] | None:
        """Return the mounted application for a request, and the scope for it."""
        return self.mounts.find(scope)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        await self.dispatcher.serve(scope, receive, send)

    async def close(self) -> None:
        """Cancel a health check that is running, and release the resources of the authenticator."""
        self.probes.close()
        await self.authentication.close()
