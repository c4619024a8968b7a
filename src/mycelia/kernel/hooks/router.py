"""The facet `router`: the routes of a subsystem."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, Unpack

from mycelia.kernel.building.hook import Api, Context, hook
from mycelia.kernel.facet import Facet
from mycelia.kernel.node import Node
from mycelia.kernel.routing.router import Route, RouteSettings

__all__ = ["RouterContract", "RouterFacet", "use_router"]


class RouterContract(Protocol):
    """What others may expect of the facet `router`."""

    def match(self, path: str) -> tuple[Route, Mapping[str, str]] | None: ...
    def register(self, path: str, handler: Callable[..., Any]) -> Route: ...
    def unregister(self, path: str) -> bool: ...
    def __iter__(self) -> Iterator[Route]: ...


class RouterFacet(Facet):
    """Finds and registers the routes of one subsystem."""

    def __init__(self, subsystem: Node) -> None:
        self._subsystem = subsystem

    def __iter__(self) -> Iterator[Route]:
        return self._subsystem.routes

    def match(self, path: str) -> tuple[Route, Mapping[str, str]] | None:
        """The route of a path and its parameters, or None; InvalidPath for a forbidden parameter."""
        return self._subsystem.match(path)

    def register(
        self,
        path: str,
        handler: Callable[..., Any],
        *,
        replace: bool = False,
        **settings: Unpack[RouteSettings],
    ) -> Route:
        """As `Node.register_route`."""
        return self._subsystem.register_route(path, handler, replace=replace, **settings)

    def unregister(self, path: str) -> bool:
        """As `Node.unregister_route`."""
        return self._subsystem.unregister_route(path)


@hook(kind="router", contract=RouterContract)
def use_router(ctx: Context, api: Api, subsystem: Node) -> Facet:
    """Makes the router facet."""
    return RouterFacet(subsystem)
