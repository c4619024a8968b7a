"""The ServerSubsystem: HTTP requests become messages, and what their handlers return becomes replies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from mycelia.errors import ConfigError
from mycelia.kernel.building.hook import Hook
from mycelia.kernel.subsystem import BaseSubsystem
from mycelia.server.asgi import ServerApplication
from mycelia.server.config import load_config
from mycelia.server.content.probes import check_no_probe
from mycelia.server.endpoint import check_abilities
from mycelia.server.engines.base import Application
from mycelia.server.hook import use_server
from mycelia.server.requests.router import HttpRoute, HttpSettings, check_prefix

if TYPE_CHECKING:
    from mycelia.server.facet import ServerFacet

__all__ = ["ServerSubsystem"]


class ServerSubsystem(BaseSubsystem):
    """A BaseSubsystem called `server`, with the canonical hooks and `use_server`.

    The configuration is checked when the subsystem is made (ConfigError names the key and what would be right);
    `await build()` makes `subsystem.server`, and `await subsystem.server.start()` listens. `asgi` is the same as an
    ASGI application, for a server of one's own.
    """

    if TYPE_CHECKING:
        server: ServerFacet

    def __init__(self, name: str = "server", *given: Any, **settings: Any) -> None:
        if name != "server":
            raise ConfigError("name", f"expected 'server', got {name!r}")
        options = given[0] if given and isinstance(given[0], Mapping) else {}
        config = load_config(options.get("config", settings.get("config")))  # before it is enrolled anywhere
        check_abilities(config.server)
        super().__init__(name, *given, **settings)
        self.with_sockets = config.server.sockets
        self.hosted = False  # whether another's server runs the system, by its lifespan
        self.registrations: list[Callable[[ServerFacet], object]] = []
        self._health = config.health
        self.asgi = ServerApplication(self)

    def register_mycelia_route(
        self, method: str, path: str, target: str, *, replace: bool = False, **settings: Unpack[HttpSettings]
    ) -> None:
        """As `ServerFacet.register_mycelia_route`, at any time: before `build`, and for every later build."""
        route = HttpRoute.of(method, path, target, **settings)  # what is wrong is wrong now
        check_no_probe(route, self._health)
        settings["requires"] = route.door.requires  # what can be read only once has been read
        self._register(lambda facet: facet.register_mycelia_route(method, path, target, replace=replace, **settings))

    def mount(self, prefix: str, application: Application) -> None:
        """As `ServerFacet.mount`, at any time: before `build`, and for every later build."""
        check_prefix(prefix)
        self._register(lambda facet: facet.mount(prefix, application))

    def _register(self, registration: Callable[[ServerFacet], object]) -> None:
        facet = self.find("server")
        if facet is not None:
            registration(facet)
        self.registrations.append(registration)

    def default_hooks(self) -> Iterable[Hook]:
        return [*super().default_hooks(), use_server]
