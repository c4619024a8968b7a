"""Which handler a client's request is for, and whether the client may reach it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mycelia.errors import InvalidPath, MyceliaError, NoRoute, RateLimited, RouteError
from mycelia.kernel.routing.handler import compile_plan
from mycelia.kernel.routing.path import Pattern, canonical, check_path, fill
from mycelia.kernel.routing.router import Route, Router, RouteSettings
from mycelia.kernel.system import MessageSystem
from mycelia.protocol.wire.envelope import Event, Request, to_mapping
from mycelia.realtime.config.sections import RoutingConfig
from mycelia.realtime.connection.link import Link
from mycelia.realtime.connection.work import RateLimitedRequest
from mycelia.realtime.inbound.client_message import ClientMessage

__all__ = ["Resolver", "Target", "handler_route"]

_REQUEST = {"path": None, "body": None, "correlationId": None, "metadata": None}
Target = tuple[Route, Mapping[str, str], ClientMessage]


def handler_route(path: str, handler: Callable[..., Any], settings: RouteSettings) -> Route:
    """Return the route of `register_message_handler`. It is exposed to all clients unless `settings` restrict it.

    Raises:
        RouteError: The settings hide the route or mark it as a default.
    """
    pattern = Pattern.parse(path)
    kept: RouteSettings = {"expose": True, **settings}
    if not kept["expose"] or kept.get("default"):
        problem = "expected no expose=False and no default=True: a handler of clients' messages is for clients"
        raise RouteError(path, f"{problem}; to hide a path, register no handler for it")
    return Route(pattern, handler, compile_plan(handler, pattern), **kept)


class Resolver:
    """Finds the target of a request, in this order.

    1. A handler of `register_message_handler`.
    2. An exposed route.
    3. The application's own handler of the default path, with the whole envelope as body.
    4. NoRoute.

    Args:
        system: The message system.
        own: The name of the WebSocket subsystem.
        routing: The section `routing`.

    Attributes:
        handlers: The handlers of `register_message_handler`.
        has_handlers: True if there are such handlers; the worker's fast path then does not apply.
    """

    def __init__(self, system: MessageSystem, own: str, routing: RoutingConfig) -> None:
        self._system, self._own, self._routing = system, f"{own}://", routing
        self.handlers = Router()
        self.has_handlers = False

    def add(self, route: Route, replace: bool) -> None:
        """Add a handler of `register_message_handler`."""
        self.handlers.add(route, replace)
        self.has_handlers = True

    def exposes(self, path: str) -> bool:
        """Return True if `routing.expose` opens a path to clients. The subsystem's own paths are never opened."""
        return not path.startswith(self._own) and any(
            path == pattern or (pattern.endswith("*") and path.startswith(pattern[:-1]))
            for pattern in self._routing.expose
        )

    def handles_default_path(self) -> bool:
        """Return True if the application itself handles the default path."""
        return self._own_default() is not None

    def resolve(self, link: Link, request: Request, trace_id: str, whole: object) -> Target:
        """Return the route, the path parameters and the message of a request.

        Args:
            link: The link that the request came from.
            request: The decoded request.
            trace_id: The trace id of the request.
            whole: What the request was decoded from, for the default path: the payload, or the decoded value.

        Raises:
            NoRoute: Clients may not call the path, or nothing handles it.
            InvalidPath: The path, or a parameter of it, is not valid.
            RateLimited: The request exceeded a rate limit when it was received.
        """
        if type(request) is RateLimitedRequest:
            raise RateLimited("a message", request.wait)
        if request.path is None:
            return self.resolve_default(link, request, trace_id, whole)
        path, _ = fill(request.path, request.body)
        found = self.handlers.match(path)
        if found is None:
            found = self._exposed(path)
        if found is not None:
            if "%" in path and "%" not in found[0].path:
                path = canonical(path)
            return found[0], found[1], ClientMessage(path, request.body, link.session, request, trace_id)
        default = self._own_default()
        if default is None:
            raise NoRoute(path)
        return self._default_target(default, link, request, trace_id, whole)

    def resolve_default(self, link: Link, work: Request | Event, trace_id: str, whole: object) -> Target:
        """Return the target of a request without a path, or of an event. The default path needs no `expose`."""
        found = self._system.resolve(self._routing.default_path)
        return self._default_target(found, link, work, trace_id, whole)

    def _default_target(
        self,
        found: tuple[Route, Mapping[str, str]],
        link: Link,
        work: Request | Event,
        trace_id: str,
        whole: object,
    ) -> Target:
        """Return the target of the default path. Its body is the envelope with every key that the client sent.

        The keys of a request are in the body even if the client left them out.
        """
        route, params = found
        value = link.encoder.codec.decode_value(whole) if isinstance(whole, bytes) and whole else whole
        given = value if isinstance(value, Mapping) else to_mapping(work)
        body = {**_REQUEST, **given} if isinstance(work, Request) else dict(given)
        return route, params, ClientMessage(self._routing.default_path, body, link.session, work, trace_id)

    def _exposed(self, path: str) -> tuple[Route, Mapping[str, str]] | None:
        """Return the exposed route of a path and its parameters; None if there is none.

        A private path and an absent path take the same steps, so that the response time does not tell them apart.

        Raises:
            NoRoute: The path is private and not valid.
            InvalidPath: A parameter of an exposed route is not valid, or the path names no subsystem.
        """
        try:
            found = self._system.match(path)
            shown = (found is not None and found[0].expose) or self.exposes(path)
            if found is not None and shown:
                return found
            check_path(path)
        except InvalidPath as fault:
            # Only an exposed route may reveal what is wrong with its parameter.
            if fault.route is None and "://" not in path:
                raise
            if not (isinstance(fault.route, Route) and (fault.route.expose or self.exposes(path))):
                raise NoRoute(path) from None
            raise
        return None

    def _own_default(self) -> tuple[Route, Mapping[str, str]] | None:
        """Return the application's own route of the default path; None if only the built-in one exists."""
        try:
            found = self._system.resolve(self._routing.default_path)
        except MyceliaError:
            return None
        return None if found[0].default else found
