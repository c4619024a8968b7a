"""What several tests of the kernel need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mycelia.kernel.routing.handler import compile_plan
from mycelia.kernel.routing.path import Pattern
from mycelia.kernel.routing.router import Route

__all__ = ["User", "answer", "route_to"]


class User:
    """A principal."""

    def __init__(self, *permissions: str, id: str = "u1") -> None:
        self.id = id
        self.permissions = frozenset(permissions)


def answer(message: Any, params: Mapping[str, str], options: Any) -> Any:
    """A handler that tells what it got."""
    return message.path, dict(params)


def route_to(path: str, handler: Callable[..., Any] = answer, **settings: Any) -> Route:
    """A route without a subsystem."""
    pattern = Pattern.parse(path)
    return Route(pattern, handler, compile_plan(handler, pattern), **settings)
