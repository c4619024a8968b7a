"""The table of HTTP routes: method and path → Mycelia path.

It uses the kernel's router, with methods in place of subsystem names (`GET://-/users/{id}`). An exact segment
therefore beats `{parameter}` as it does for Mycelia paths. Paths are decoded already: the server has decoded them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypedDict

from mycelia.errors import RouteError
from mycelia.kernel.routing.handler import compile_plan
from mycelia.kernel.routing.path import Pattern
from mycelia.kernel.routing.pipeline import compose
from mycelia.kernel.routing.router import Exposure, Route, Router
from mycelia.scheduling.rate_limiter import RateLimiter

__all__ = ["METHODS", "SAFE_METHODS", "HttpRoute", "HttpRouter", "HttpSettings", "MethodNotAllowed"]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 §9.2.1
_OTHER_PARAMETER = re.compile(r"<(?:[^<>]*:)?([^<>:]*)>")  # a parameter in the syntax of Flask and Django


class HttpSettings(TypedDict, total=False):
    """The optional settings of an HTTP route; see `HttpRoute`."""

    requires: Iterable[str]
    authenticated: bool
    timeout: float | None
    limit: RateLimiter | None
    status: int
    statuses: Mapping[str, int]


class MethodNotAllowed(RouteError):
    """The path has routes, but none for this method. `allowed` names the methods of the path."""

    def __init__(self, path: str, allowed: tuple[str, ...]) -> None:
        self.allowed = allowed
        super().__init__(path, f"expected one of {', '.join(allowed)}")


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """One HTTP method and path, and the Mycelia path that answers them.

    Attributes:
        method: The HTTP method.
        path: The path, in which `{name}` is a parameter.
        target: The Mycelia path.
        guard: The guard route: a route of the kernel without effect. Its call runs the checks of the settings
            `requires`, `authenticated` and `limit`, before those of the target.
        status: The status of a successful response.
        statuses: The statuses of the application's own error codes.
    """

    method: str
    path: str
    target: str
    guard: Route = field(repr=False)
    status: int = 200
    statuses: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, method: str, path: str, target: str, **settings: Any) -> HttpRoute:
        """Return a route from its settings.

        Args:
            method: An HTTP method in capital letters.
            path: The path, not percent-encoded, such as "/users/{id}".
            target: The Mycelia path, such as "user://get/{id}".
            settings: Any of these.
                requires: The permissions that the caller must have.
                authenticated: True if the caller must be authenticated.
                timeout: The deadline of the handler in seconds.
                limit: A RateLimiter for this route.
                status: The status of a successful response.
                statuses: The statuses of the application's own error codes.

        Raises:
            RouteError: An argument is invalid. The error states what would be valid.
        """
        if method not in METHODS:
            raise RouteError(str(path), f"expected a method of {', '.join(METHODS)}, got {method!r}")
        for key in settings:
            if key not in HttpSettings.__annotations__:
                known = ", ".join(HttpSettings.__annotations__)
                raise RouteError(str(path), f"unknown setting {key!r}; known: {known}")
        pattern = _pattern(method, path)
        statuses = dict(settings.get("statuses") or {})
        for code in (settings.get("status", 200), *statuses.values()):
            if isinstance(code, bool) or not isinstance(code, int) or not 200 <= code <= 599:
                raise RouteError(path, f"expected a status from 200 to 599, got {code!r}")
        wanted = Pattern.parse(target)
        _check_parameters(target)
        if wanted.rest or pattern.rest:
            raise RouteError(path, "expected no '*', neither in the path nor in its target")
        exposed: Exposure = "authenticated" if settings.get("authenticated", False) else "public"
        kept = {key: settings[key] for key in ("requires", "timeout", "limit") if key in settings}
        guard = Route(pattern, _noop, compile_plan(_noop, pattern), expose=exposed, **kept)
        compose(guard, (), ())
        return cls(method, path, target, guard, settings.get("status", 200), MappingProxyType(statuses))

    @property
    def text(self) -> str:
        """Return method and path, as logs name the route."""
        return f"{self.method} {self.path}"


class HttpRouter:
    """All HTTP routes of one ServerSubsystem."""

    def __init__(self) -> None:
        self._guards = Router()
        self._routes: dict[Route, HttpRoute] = {}

    def __iter__(self) -> Iterator[HttpRoute]:
        return iter(list(self._routes.values()))

    def __len__(self) -> int:
        return len(self._routes)

    def add(self, route: HttpRoute, replace: bool = False) -> None:
        """Add a route. Raise RouteError if its method and path are taken and `replace` is not set."""
        held = self._guards.get(route.guard.pattern)
        if held is not None and not replace:
            taken = self._routes[held].text
            raise RouteError(route.path, f"{taken} is already registered; replace=True replaces it")
        self._guards.add(route.guard, replace)
        if held is not None:
            del self._routes[held]
        self._routes[route.guard] = route

    def remove(self, method: str, path: str) -> bool:
        """Remove a route; return False if there is none."""
        held = self._guards.get(_pattern(method, path))
        if held is None:
            return False
        del self._routes[held]
        return self._guards.remove(held)

    def match(self, method: str, path: str) -> tuple[HttpRoute, Mapping[str, str]] | None:
        """Return the route of a method and a decoded path with the values of its parameters.

        A GET route also answers HEAD, if the path has no HEAD route. The result is None if the path has no routes.

        Raises:
            MethodNotAllowed: The path has routes for other methods only.
        """
        segments = _segments(path)
        if segments is None:
            return None
        for each in (method, "GET") if method == "HEAD" else (method,):
            if each in METHODS and (found := self._guards.find(each, segments)) is not None:
                guard, values = found
                return self._routes[guard], dict(zip(guard.pattern.names, values, strict=True))
        allowed = self.methods(path)
        if allowed:
            raise MethodNotAllowed(path, allowed)
        return None

    def has(self, method: str, path: str) -> bool:
        """Return True if a path has a route for exactly this method."""
        segments = _segments(path)
        return segments is not None and self._guards.find(method, segments) is not None

    def methods(self, path: str) -> tuple[str, ...]:
        """Return the methods that a path answers, with HEAD and OPTIONS; none for an unknown path."""
        found = {method for method in METHODS if self.has(method, path)}
        if found:
            found |= {"OPTIONS", "HEAD"} if "GET" in found else {"OPTIONS"}
        return tuple(method for method in METHODS if method in found)


def _noop(message: Any, params: Any, options: Any) -> None:
    """Do nothing: only the checks of a guard route matter."""


def _segments(path: str) -> list[str] | None:
    """Return the segments of a path below the method; None for empty or dot segments, which no route has."""
    if path == "/":
        return ["-"]
    segments = path.split("/")
    if any(each in ("", ".", "..") for each in segments[1:]):
        return None
    segments[0] = "-"
    return segments


def _check_parameters(path: str) -> None:
    """Raise RouteError for `<id>`. It would be a literal segment, which no client asks for."""
    if "<" in path or ">" in path:
        right = _OTHER_PARAMETER.sub(r"{\1}", path)
        shown = repr(right) if right != path else "'/users/{id}'"
        problem = f"expected no '<' and no '>': a parameter is {{id}}, as in {shown}"
        raise RouteError(path, f"{problem}; its type is the annotation of the handler")


def _pattern(method: str, path: object) -> Pattern:
    if isinstance(path, str):
        _check_parameters(path)
    if not isinstance(path, str) or not path.startswith("/") or any(sign in path for sign in "?#%"):
        raise RouteError(str(path), "expected a path such as '/users/{id}', without a query and not percent-encoded")
    if path != "/" and path.endswith("/"):
        raise RouteError(path, "expected no slash at the end")
    try:
        return Pattern.parse(f"{method}://-{'' if path == '/' else path}")
    except RouteError as error:
        raise RouteError(path, error.problem) from None
