"""Which route a path belongs to: an exact table in front of a tree of segments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypedDict

from mycelia.errors import InvalidPath, RouteError
from mycelia.kernel.messages.context import Caller
from mycelia.kernel.routing.handler import Call, Plan
from mycelia.kernel.routing.path import Pattern, bind
from mycelia.scheduling.rate_limiter import RateLimiter

__all__ = ["NO_PARAMS", "Exposure", "Route", "RouteSettings", "Router"]

Exposure = bool | Literal["public", "authenticated"]
"""Who may call a route from outside: nobody (False), every client (True, "public"), every known one."""

NO_PARAMS: Mapping[str, str] = MappingProxyType({})


class RouteSettings(TypedDict, total=False):
    """What may be said about a route beside its path and handler; see `BaseSubsystem.register_route`."""

    expose: Exposure
    safe: bool | None
    requires: Iterable[str]
    concurrent: bool
    isolated: bool
    timeout: float | None
    default: bool
    limit: RateLimiter | None


class Route:
    """One path and what answers it.

    `call(message, params, options)` is the entry for everybody who runs the route. For a route without
    `requires`, middleware, queue, timeout or listeners whose handler takes the plain triple it is the
    handler itself; otherwise it is composed when the route becomes reachable and again when something
    is added, so read the attribute anew for every message. It may raise at once. `is_async` says that
    what it returns is always awaitable; without it the value may still be. `default` marks a built-in
    that the application's own registration of the path replaces.

    `authenticated` asks a client for a principal. `safe` says whether it leaves everything as it is (None: nobody
    said). Nothing is ever put around the plan of a `sealed` route: its body is a secret, which middleware, listeners
    and queues do not see.

    Whoever runs the route counts: `handled` what was answered, `failed` what was not or with an error.
    """

    __slots__ = (
        "authenticated", "call", "caller", "concurrent", "default", "direct", "expose", "failed", "handled",
        "handler", "is_async", "isolated", "limit", "path", "pattern", "plan", "requires", "safe", "sealed",
        "subsystem", "timeout",
    )  # fmt: skip

    def __init__(
        self,
        pattern: Pattern,
        handler: Callable[..., Any],
        plan: Plan,
        *,
        expose: Exposure = False,
        safe: bool | None = None,
        requires: Iterable[str] = (),
        concurrent: bool = False,
        isolated: bool = False,
        timeout: float | None = None,
        default: bool = False,
        limit: RateLimiter | None = None,
    ) -> None:
        if timeout is not None and not timeout > 0:
            raise RouteError(pattern.text, f"expected a timeout above 0 s, got {timeout!r}")
        self.path = pattern.text
        self.pattern = pattern
        self.subsystem = pattern.subsystem
        self.caller = Caller("subsystem", pattern.subsystem)
        self.handler = handler
        self.plan = plan
        if expose not in (True, False, "public", "authenticated") or not isinstance(expose, (bool, str)):
            raise RouteError(pattern.text, f"expected expose=True, False, 'public' or 'authenticated', got {expose!r}")
        if not (safe is None or isinstance(safe, bool)):
            raise RouteError(pattern.text, f"expected safe=True or False, got {safe!r}")
        self.expose = bool(expose)
        self.authenticated = expose == "authenticated"
        self.safe = safe
        self.sealed = False
        # Whether a client's request may run right where it is read: exposed, in order, in the reader's own task.
        self.direct = self.expose and not (concurrent or isolated)
        if isinstance(requires, str):
            raise RouteError(pattern.text, f"expected requires={{{requires!r}}}, a set, got a string")
        self.requires = frozenset(requires)
        self.concurrent = concurrent
        if limit is not None and not isinstance(limit, RateLimiter):
            raise RouteError(pattern.text, f"expected limit=RateLimiter(…), got {limit!r}")
        self.isolated = isolated
        self.limit = limit
        self.timeout = timeout
        self.default = default
        self.handled = 0
        self.failed = 0
        self.call: Call = plan.call
        self.is_async: bool = plan.is_async

    def __repr__(self) -> str:
        return f"Route({self.path!r}, handler={getattr(self.handler, '__qualname__', self.handler)!r})"


class _Node:
    __slots__ = ("literals", "param", "rest", "route")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.param: _Node | None = None
        self.rest: Route | None = None
        self.route: Route | None = None


def _find(node: _Node, segments: list[str], at: int, taken: list[str]) -> Route | None:
    """The best route below `node`, with the segments that its parameters take left in `taken`."""
    if at == len(segments):
        return node.route
    segment = segments[at]
    below = node.literals.get(segment)
    if below is not None and (found := _find(below, segments, at + 1, taken)) is not None:
        return found
    if node.param is not None:
        taken.append(segment)
        if (found := _find(node.param, segments, at + 1, taken)) is not None:
            return found
        taken.pop()
    if node.rest is not None:
        taken.extend(segments[at:])
    return node.rest


class Router:
    """A set of routes, no two for the same paths.

    Segment by segment an exact one beats `{param}` and that beats `*`, whatever the order of
    registration; where a better beginning leads nowhere, the next best is tried. `*` takes one segment
    or more. `exact` holds the routes that stand for one path only, by that path; read it, never write.
    """

    def __init__(self) -> None:
        self.exact: dict[str, Route] = {}
        self._roots: dict[str, _Node] = {}
        self._shapes: dict[tuple[str, tuple[str | None, ...], bool], Route] = {}

    def __iter__(self) -> Iterator[Route]:
        return iter(list(self._shapes.values()))

    def __len__(self) -> int:
        return len(self._shapes)

    def get(self, pattern: Pattern) -> Route | None:
        """The route registered for the same paths as `pattern`."""
        return self._shapes.get(pattern.shape)

    def add(self, route: Route, replace: bool = False) -> None:
        """Makes the route findable; a taken path raises RouteError unless `replace` is set."""
        held = self._shapes.get(route.pattern.shape)
        if held is not None:
            if not replace:
                raise RouteError(route.path, f"already registered as {held.path!r}; replace=True replaces it")
            self.remove(held)
        self._shapes[route.pattern.shape] = route
        self._place(route.pattern, route)

    def remove(self, route: Route) -> bool:
        """Takes out this very route; False when it is not here."""
        if self._shapes.get(route.pattern.shape) is not route:
            return False
        del self._shapes[route.pattern.shape]
        self._place(route.pattern, None)
        return True

    def match(self, path: str) -> tuple[Route, Mapping[str, str]] | None:
        """The route of a path and its parameters; None when there is none.

        Raises InvalidPath when the path matches and a parameter in it has a forbidden value.
        """
        route = self.exact.get(path)
        if route is not None:
            return route, NO_PARAMS
        owner, mark, tail = path.partition("://")
        root = self._roots.get(owner)
        if root is None or not mark:
            return None
        taken: list[str] = []
        route = _find(root, tail.split("/"), 0, taken)
        if route is None:
            return None
        try:
            return route, bind(route.pattern, path, taken)
        except InvalidPath as fault:
            fault.route = route
            raise

    def find(self, owner: str, segments: list[str]) -> tuple[Route, list[str]] | None:
        """Return the route for the segments of a path, and the segments that its parameters take, not decoded."""
        root = self._roots.get(owner)
        taken: list[str] = []
        route = None if root is None else _find(root, segments, 0, taken)
        return None if route is None else (route, taken)

    def _place(self, pattern: Pattern, route: Route | None) -> None:
        if pattern.literal:
            if route is None:
                del self.exact[pattern.text]
            else:
                self.exact[pattern.text] = route
        node = self._roots.setdefault(pattern.subsystem, _Node())
        trail: list[tuple[_Node, str | None]] = []
        for segment in pattern.segments:
            trail.append((node, segment))
            if segment is not None:
                node = node.literals.setdefault(segment, _Node())
            else:
                node.param = node.param or _Node()
                node = node.param
        if pattern.rest:
            node.rest = route
        else:
            node.route = route
        # A tree that only grows would remember every route that ever was.
        while trail and not (node.literals or node.param or node.rest or node.route):
            node, label = trail.pop()
            if label is None:
                node.param = None
            else:
                del node.literals[label]
