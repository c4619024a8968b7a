"""Which handler a client's request is for, and whether the client may reach it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mycelia.errors import InvalidPath, MyceliaError, NoRoute, RateLimited, RouteError
from mycelia.kernel.routing.handler import compile_plan
from mycelia.kernel.routing.path import Pattern, canonical, check_path, fill
from mycelia.kernel.routing.router import Route, Router, RouteSettings
from mycelia.protocol.wire.envelope import Event, Request, to_mapping
from mycelia.realtime.inbound.client_message import ClientMessage
from mycelia.realtime.limits.message_rate_limits import Refused

if TYPE_CHECKING:
    from mycelia.kernel.system import MessageSystem
    from mycelia.realtime.config.config import RoutingConfig
    from mycelia.realtime.connection.connection import WebSocketConnection

__all__ = ["Resolver", "Target", "handler_route"]

_REQUEST = {"path": None, "body": None, "correlationId": None, "metadata": None}
Target = tuple[Route, Mapping[str, str], ClientMessage]


def handler_route(path: str, handler: Callable[..., Any], settings: RouteSettings) -> Route:
    """The route of `register_message_handler`, for all clients unless `settings` say otherwise. Raises RouteError."""
    pattern = Pattern.parse(path)
    kept: RouteSettings = {"expose": True, **settings}
    if not kept["expose"] or kept.get("default"):
        problem = "expected no expose=False and no default=True: a handler of clients' messages is for clients"
        raise RouteError(path, f"{problem}; to hide a path, register no handler for it")
    return Route(pattern, handler, compile_plan(handler, pattern), **kept)


class Resolver:
    """In this order: a handler of `register_message_handler`, an exposed route, the application's own handler
    of the default path with the whole envelope as body; else NoRoute (architecture §4).
    """

    def __init__(self, system: MessageSystem, own: str, routing: RoutingConfig) -> None:
        self._system, self._own, self._routing = system, f"{own}://", routing
        self.handlers = Router()
        self.custom = False  # whether the hot path must ask here: `handlers` has some

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

    def resolve(self, connection: WebSocketConnection, work: Request, trace_id: str, whole: object) -> Target:
        """The target of a request. Raises NoRoute for what clients may not call, and InvalidPath.

        `whole` is the message that the request was decoded from, for the default path: encoded, or as a mapping.
        """
        if type(work) is Refused:
            raise RateLimited("a message", work.wait)
        if work.path is None:
            return self.default(connection, work, trace_id, whole)
        path, _ = fill(work.path, work.body)
        found = self.handlers.match(path)
        if found is None:
            found = self._exposed(path)
        if found is not None:
            if "%" in path and "%" not in found[0].path:
                path = canonical(path)
            return found[0], found[1], ClientMessage(path, work.body, connection, work, trace_id)
        if self.default_is_own():
            return self.default(connection, work, trace_id, whole)
        raise NoRoute(path)

    def _exposed(self, path: str) -> tuple[Route, Mapping[str, str]] | None:
        """The exposed route of a path. Raises NoRoute for what is no path in a subsystem, and InvalidPath.

        A private path and an absent one take the same steps, so that not even the time they take tells them apart.
        """
        try:
            found = self._system.match(path)
            shown = (found is not None and found[0].expose) or self.exposes(path)
            if found is not None and shown:
                return found
            check_path(path)
        except InvalidPath as fault:
            # Only an exposed route may say what is wrong with its parameter; that it is no path at all may be said.
            if fault.route is None and "://" not in path:
                raise
            if not (isinstance(fault.route, Route) and (fault.route.expose or self.exposes(path))):
                raise NoRoute(path) from None
            raise
        return None

    def default(self, connection: WebSocketConnection, work: Request | Event, trace_id: str, whole: object) -> Target:
        """The target of the default path, which needs no `expose`.

        Its message's body is the envelope with all that the client put there; the keys of a request are there
        even when the client left them out.
        """
        path = self._routing.default_path
        route, params = self._system.resolve(path)
        value = connection.dialect.codec.decode_value(whole) if isinstance(whole, bytes) and whole else whole
        given = value if isinstance(value, Mapping) else to_mapping(work)
        body = {**_REQUEST, **given} if isinstance(work, Request) else dict(given)
        return route, params, ClientMessage(path, body, connection, work, trace_id)

    def default_is_own(self) -> bool:
        """Whether the application itself handles the default path."""
        try:
            route, _ = self._system.resolve(self._routing.default_path)
        except MyceliaError:
            return False
        return not route.default
