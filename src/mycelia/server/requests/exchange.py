"""One exchange: an HTTP request on its way to a response, with what error responses need to know about it."""

from __future__ import annotations

from collections.abc import Mapping

from mycelia.asgi.scope import Receive, Scope
from mycelia.kernel.routing.router import Route
from mycelia.server.requests.concurrency_limiter import Slot
from mycelia.server.response import Header
from mycelia.server.router import HttpRoute

__all__ = ["Exchange"]


class Exchange:
    """One HTTP request on its way to a response.

    Attributes:
        scope: The ASGI scope.
        receive: The ASGI function that returns the next event of the client.
        trace_id: The trace; "-" until the request head is read.
        headers: The headers that every response has; none until the request head is read.
        request_id: The id of the request, for logs; "-" until the handler phase.
        statuses: The statuses of the route's own error codes; none until the handler phase.
        target: The route whose handler is called; None until it is found.
        slot: The slot that the request holds; None until it has one. A probe needs none.
    """

    __slots__ = ("headers", "receive", "request_id", "scope", "slot", "statuses", "target", "trace_id")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope, self.receive = scope, receive
        self.trace_id = self.request_id = "-"
        self.headers: tuple[Header, ...] = ()
        self.statuses: Mapping[str, int] = {}
        self.target: Route | None = None
        self.slot: Slot | None = None

    @property
    def head_only(self) -> bool:
        """Return True if the response has no body, because the method is HEAD."""
        return bool(self.scope["method"] == "HEAD")

    def identify(self, trace_id: str, headers: tuple[Header, ...]) -> None:
        """Set the trace and the headers of the response, once the request head is read."""
        self.trace_id, self.headers = trace_id, (("x-trace-id", trace_id), *headers)

    def enter_handler(self, request_id: str, route: HttpRoute) -> None:
        """Begin the handler phase, in which the statuses of the route apply."""
        self.request_id, self.statuses = request_id, route.statuses
