"""HTTP method and path → Mycelia path: a table of routes, found by the kernel's own router.

Methods take the place of subsystems there (`GET://-/users/{id}`), so exact beats `{parameter}` here as everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypedDict

from mycelia.asgi.scope import encoded
from mycelia.errors import InvalidPath, RouteError
from mycelia.kernel.routing.handler import compile_plan
from mycelia.kernel.routing.path import Pattern
from mycelia.kernel.routing.pipeline import compose
from mycelia.kernel.routing.router import Exposure, Route, Router
from mycelia.scheduling.rate_limiter import RateLimiter

__all__ = ["METHODS", "SAFE", "HttpRoute", "HttpRouter", "HttpSettings", "NoMethod", "check_prefix"]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 §9.2.1
_FOREIGN = re.compile(r"<(?:[^<>]*:)?([^<>:]*)>")  # a parameter as Flask and Django write it


class HttpSettings(TypedDict, total=False):
    """What may be said about an HTTP route beside method, path and target; see `HttpRoute`."""

    requires: Iterable[str]
    authenticated: bool
    timeout: float | None
    limit: RateLimiter | None
    status: int
    statuses: Mapping[str, int]


class NoMethod(RouteError):
    """The path is there for other methods, which `allowed` names."""

    def __init__(self, path: str, allowed: tuple[str, ...]) -> None:
        self.allowed = allowed
        super().__init__(path, f"expected one of {', '.join(allowed)}")


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """One method and path, and the Mycelia path that answers them.

    `requires` and `authenticated` ask for a caller's rights before the target does; `timeout` bounds the handler in
    seconds; `limit` is a RateLimiter; `status` is that of success, `statuses` those of error codes of your own.
    """

    method: str
    path: str
    target: str
    door: Route = field(repr=False)  # in the router's table; its call asks what is asked before the target
    status: int = 200
    statuses: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, method: str, path: str, target: str, **settings: Any) -> HttpRoute:
        """Raises RouteError for what can be no HTTP route, saying what would be right."""
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
        _check_spelling(target)
        if wanted.rest or pattern.rest:
            raise RouteError(path, "expected no '*', neither in the path nor in its target")
        exposed: Exposure = "authenticated" if settings.get("authenticated", False) else "public"
        kept = {key: settings[key] for key in ("requires", "timeout", "limit") if key in settings}
        door = Route(pattern, _pass, compile_plan(_pass, pattern), expose=exposed, **kept)
        compose(door, (), ())
        return cls(method, path, target, door, settings.get("status", 200), MappingProxyType(statuses))

    @property
    def text(self) -> str:
        """As logs and people name it."""
        return f"{self.method} {self.path}"


class HttpRouter:
    """All HTTP routes of one ServerSubsystem."""

    def __init__(self) -> None:
        self._doors = Router()
        self._routes: dict[Route, HttpRoute] = {}

    def __iter__(self) -> Iterator[HttpRoute]:
        return iter(list(self._routes.values()))

    def __len__(self) -> int:
        return len(self._routes)

    def add(self, route: HttpRoute, replace: bool = False) -> None:
        """Makes the route findable; a taken method and path raise RouteError unless `replace` is set."""
        held = self._doors.get(route.door.pattern)
        if held is not None and not replace:
            raise RouteError(route.path, f"{self._routes[held].text} is registered already; replace=True replaces it")
        self._doors.add(route.door, replace)
        if held is not None:
            del self._routes[held]
        self._routes[route.door] = route

    def remove(self, method: str, path: str) -> bool:
        """Takes a route out; False when there is none."""
        held = self._doors.get(_pattern(method, path))
        if held is None:
            return False
        del self._routes[held]
        return self._doors.remove(held)

    def match(self, method: str, path: str) -> tuple[HttpRoute, Mapping[str, str]] | None:
        """The route of a method and a path as `path_of` spells it, and its parameters, decoded once.

        HEAD is answered by GET where it has no route of its own. None when no method has that path; NoMethod when
        others have. Raises InvalidPath for a parameter that holds a slash, a backslash or NUL, or is a dot segment.
        """
        key = _key(path)
        if key is None:
            return None
        for each in (method, "GET") if method == "HEAD" else (method,):
            if each in METHODS and (found := self._doors.match(f"{each}://{key}")) is not None:
                return self._routes[found[0]], found[1]
        allowed = self.methods(path)
        if allowed:
            raise NoMethod(path, allowed)
        return None

    def has(self, method: str, path: str) -> bool:
        """Whether a path has a route of its own for this method."""
        key = _key(path)
        try:
            return key is not None and self._doors.match(f"{method}://{key}") is not None
        except InvalidPath:
            return True

    def methods(self, path: str) -> tuple[str, ...]:
        """The methods that a path can be asked with, HEAD and OPTIONS among them; none for an unknown path."""
        found = {method for method in METHODS if self.has(method, path)}
        if found:
            found |= {"OPTIONS", "HEAD"} if "GET" in found else {"OPTIONS"}
        return tuple(method for method in METHODS if method in found)


def check_prefix(prefix: object) -> None:
    """Raises RouteError for what can be no prefix of a mounted application."""
    if (
        not isinstance(prefix, str) or not prefix.startswith("/") or prefix.endswith("/")
        or any(sign in prefix for sign in "?#%\\")
    ):  # fmt: skip
        raise RouteError(str(prefix), "expected a prefix such as '/admin'")


def _pass(message: Any, params: Any, options: Any) -> None:
    """Stands behind a door that has let somebody in."""


def _key(path: str) -> str | None:
    """The path below the method; None for one with empty or dot segments, which no route has."""
    if path == "/":
        return "-"
    segments = path.split("/")[1:]
    return None if any(each in ("", ".", "..") for each in segments) else f"-{path}"


def _check_spelling(path: str) -> None:
    """Raises RouteError for `<id>`, which would be taken as it stands: nobody ever asks for that."""
    if "<" in path or ">" in path:
        right = _FOREIGN.sub(r"{\1}", path)
        shown = repr(right) if right != path else "'/users/{id}'"
        problem = f"expected no '<' and no '>': a parameter is {{id}}, as in {shown}"
        raise RouteError(path, f"{problem}; its type is what the handler annotates")


def _pattern(method: str, path: object) -> Pattern:
    if isinstance(path, str):
        _check_spelling(path)
    if not isinstance(path, str) or not path.startswith("/") or any(sign in path for sign in "?#%"):
        raise RouteError(str(path), "expected a path such as '/users/{id}', without a query and not percent-encoded")
    if path != "/" and path.endswith("/"):
        raise RouteError(path, "expected no slash at the end")
    spelled = "/".join(each if "{" in each or "}" in each else encoded(each) for each in path.split("/"))
    try:
        return Pattern.parse(f"{method}://-{'' if spelled == '/' else spelled}")
    except RouteError as fault:
        raise RouteError(path, fault.problem) from None
