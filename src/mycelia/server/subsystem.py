"""The ServerSubsystem: HTTP requests become messages, and what their handlers return becomes responses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Unpack

from mycelia.kernel.building.hook import Hook
from mycelia.server.asgi import ServerApplication
from mycelia.server.config import load_config
from mycelia.server.content.probes import check_no_probe
from mycelia.server.endpoint import check_capabilities
from mycelia.server.engines.seam import Application
from mycelia.server.facet import ServerFacet
from mycelia.server.hook import use_server
from mycelia.server.mounts import check_prefix
from mycelia.server.router import HttpRoute, HttpSettings
from mycelia.serving.listening_subsystem import ListeningSubsystem

__all__ = ["ServerSubsystem"]


class ServerSubsystem(ListeningSubsystem[ServerFacet]):
    """A subsystem with the name `server`, the canonical hooks and `use_server`.

    The constructor checks the configuration. `await build()` makes the facet `subsystem.server`, and
    `await subsystem.server.start()` listens.

    Args:
        name: The name; it must be "server".
        given: The options of a BaseSubsystem as one mapping.
        settings: The options of a BaseSubsystem as keywords.

    Attributes:
        server: The facet, while the subsystem is built.
        asgi: The subsystem as an ASGI application, for another HTTP server.

    Raises:
        ConfigError: The name or a value of the configuration is invalid. The error names the key.
    """

    kind: ClassVar[str] = "server"
    server: ServerFacet

    def __init__(self, name: str = "server", *given: Any, **settings: Any) -> None:
        config = self._read_config(name, given, settings, load_config)
        check_capabilities(config.server)
        super().__init__(name, *given, **settings)
        self._health = config.health
        self.asgi = ServerApplication(self, config.server.sockets)

    def register_mycelia_route(
        self, method: str, path: str, target: str, *, replace: bool = False, **settings: Unpack[HttpSettings]
    ) -> None:
        """Register a route as `ServerFacet.register_mycelia_route` does, for this build and every later build.

        It may be called at any time, also before `build`.

        Args:
            method: An HTTP method in capital letters.
            path: The path, not percent-encoded, such as "/users/{id}".
            target: The Mycelia path, such as "user://get/{id}".
            replace: True to replace a route with the same method and path.
            settings: The settings of the route; see `HttpRoute.of`.

        Raises:
            RouteError: An argument is invalid, or the method and path are taken.
        """
        route = HttpRoute.of(method, path, target, **settings)  # Errors are raised now, not at the build.
        check_no_probe(route, self._health)
        settings["requires"] = route.guard.requires  # An iterator can be read only once.
        self._register_for_every_build(
            lambda facet: facet.register_mycelia_route(method, path, target, replace=replace, **settings)
        )

    def mount(self, prefix: str, application: Application) -> None:
        """Mount an application as `ServerFacet.mount` does, for this build and every later build.

        It may be called at any time, also before `build`.

        Args:
            prefix: The prefix, such as "/admin".
            application: The ASGI application.

        Raises:
            RouteError: The prefix is invalid or taken.
        """
        check_prefix(prefix)
        self._register_for_every_build(lambda facet: facet.mount(prefix, application))

    def default_hooks(self) -> Iterable[Hook]:
        """Return the canonical hooks and `use_server`."""
        return [*super().default_hooks(), use_server]
