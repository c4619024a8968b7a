"""Which handler a client's request is for, and whether the client may reach it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mycelia.errors import InvalidPath, MyceliaError, NoRoute, NoSuchSubsystem
from mycelia.kernel.path import fill
from mycelia.kernel.router import Route, Router
from mycelia.protocol.envelope import Event, Request, to_mapping
from mycelia.websocket.inbound import ClientMessage

if TYPE_CHECKING:
    from mycelia.kernel.system import MessageSystem
    from mycelia.websocket.config import RoutingConfig
    from mycelia.websocket.connection import WebSocketConnection

__all__ = ["Resolver", "Target"]

Target = tuple[Route, Mapping[str, str], ClientMessage]


class Resolver:
    """In this order: a handler of `register_message_handler`, an exposed route, the application's own handler
    of the default path with the whole envelope as body; else NoRoute (architecture §4).
    """

    def __init__(self, system: MessageSystem, own: str, routing: RoutingConfig) -> None:
        self._system, self._own, self._routing = system, f"{own}://", routing
        self.handlers = Router()
        self.custom = False  # whether `handlers` has any: the hot path looks at this instead

    def add(self, route: Route, replace: bool) -> None:
        """Adds a handler of `register_message_handler`."""
        self.handlers.add(route, replace)
        self.custom = True

    def exposes(self, path: str) -> bool:
        """Whether `routing.expose` opens a path to clients; never one of this subsystem's own."""
        return not path.startswith(self._own) and any(
            path == pattern or (pattern.endswith("*") and path.startswith(pattern[:-1]))
            for pattern in self._routing.expose
        )

    def resolve(self, connection: WebSocketConnection, work: Request, trace_id: str) -> Target:
        """The target of a request. Raises NoRoute for what clients may not call, and InvalidPath."""
        if work.path is None:
            return self.default(connection, work, trace_id)
        path, _ = fill(work.path, work.body)
        found = self.handlers.match(path)
        if found is None:
            try:
                found = self._system.resolve(path)
            except (NoRoute, NoSuchSubsystem):
                found = None
            except InvalidPath as fault:
                # Only an exposed route may say what is wrong with its parameter; that it is no path at all may be said.
                if fault.route is None and "://" not in path:
                    raise
                if not (isinstance(fault.route, Route) and (fault.route.expose or self.exposes(path))):
                    raise NoRoute(path) from None
                raise
            else:
                if not (found[0].expose or self.exposes(path)):
                    found = None
        if found is not None:
            return found[0], found[1], ClientMessage(path, work.body, connection, work, trace_id)
        if self._default_is_own():
            return self.default(connection, work, trace_id)
        raise NoRoute(path)

    def default(self, connection: WebSocketConnection, work: Request | Event, trace_id: str) -> Target:
        """The target of the default path, which needs no `expose`; its message's body is the envelope."""
        path = self._routing.default_path
        route, params = self._system.resolve(path)
        return route, params, ClientMessage(path, to_mapping(work), connection, work, trace_id)

    def _default_is_own(self) -> bool:
        try:
            route, _ = self._system.resolve(self._routing.default_path)
        except MyceliaError:
            return False
        return not route.default
