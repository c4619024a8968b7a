"""The WebSocketSubsystem: clients call paths, and any subsystem reaches any client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Unpack

from mycelia.errors import ConfigError
from mycelia.kernel.building.hook import Hook
from mycelia.kernel.routing.router import RouteSettings
from mycelia.kernel.subsystem import BaseSubsystem
from mycelia.realtime.config.config import load_config
from mycelia.realtime.endpoint import check_abilities, served
from mycelia.realtime.inbound.resolver import handler_route
from mycelia.realtime.lifecycle.event_handlers import ConnectionEvent
from mycelia.transports.engine_registry import load_engine
from mycelia.websocket.asgi import AsgiApplication
from mycelia.websocket.facet import WebSocketFacet
from mycelia.websocket.hook import use_websockets

__all__ = ["WebSocketSubsystem"]


class WebSocketSubsystem(BaseSubsystem):
    """A BaseSubsystem called `websocket`, with the canonical hooks and `use_websockets`.

    The configuration is checked when the subsystem is made (ConfigError names the key and what would be
    right); `await build()` makes `subsystem.websocket`, and `await subsystem.websocket.start()` listens.
    """

    websocket: WebSocketFacet

    def __init__(self, name: str = "websocket", *given: Any, **settings: Any) -> None:
        if name != "websocket":
            raise ConfigError("name", f"expected 'websocket', got {name!r}")
        options = given[0] if given and isinstance(given[0], Mapping) else {}
        config = load_config(options.get("config", settings.get("config")))  # before it is enrolled anywhere
        for server in config.websocket:
            check_abilities(server, load_engine(server.type))
        served(config.websocket)  # raises for one that would never be reached
        super().__init__(name, *given, **settings)
        self.registrations: list[Callable[[WebSocketFacet], None]] = []
        self._asgi: AsgiApplication | None = None

    @property
    def asgi(self) -> AsgiApplication:
        """The subsystem as an ASGI application, always the same one; also before `build`.

        Raises ConfigError when no endpoint is of a type that ASGI servers can serve.
        """
        if self._asgi is None:
            self._asgi = AsgiApplication(self)
        return self._asgi

    def register_message_handler(
        self, path: str, handler: Callable[..., Any], *, replace: bool = False, **settings: Unpack[RouteSettings]
    ) -> None:
        """As `WebSocketFacet.register_message_handler`, at any time: before `build`, and for every later build."""
        route = handler_route(path, handler, settings)  # what is wrong is wrong now
        settings["requires"] = route.requires  # what can be read only once has been read
        self._register(lambda facet: facet.register_message_handler(path, handler, replace=replace, **settings))

    def register_connection_handler(self, event: ConnectionEvent, handler: Callable[..., Any]) -> None:
        """As `WebSocketFacet.register_connection_handler`, at any time: before `build`, and for every later build."""
        self._register(lambda facet: facet.register_connection_handler(event, handler))

    def _register(self, registration: Callable[[WebSocketFacet], None]) -> None:
        facet = self.find("websocket")
        if facet is not None:
            registration(facet)
        self.registrations.append(registration)

    def default_hooks(self) -> Iterable[Hook]:
        return [*super().default_hooks(), use_websockets]
