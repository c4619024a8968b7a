"""A node of the tree of subsystems: its place in the tree and in a system, and the routes that it owns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, Unpack

from mycelia.errors import ConfigError, RouteError
from mycelia.kernel.facet import Facet
from mycelia.kernel.lifecycle import State
from mycelia.kernel.routing.handler import compile_plan
from mycelia.kernel.routing.path import Pattern, valid_name
from mycelia.kernel.routing.pipeline import Layer, Middleware, compose
from mycelia.kernel.routing.router import Route, Router, RouteSettings
from mycelia.kernel.system import MessageSystem

__all__ = ["Node"]

Handler = TypeVar("Handler", bound=Callable[..., Any])


class Node(ABC):
    """The part of a subsystem that hooks and facets see: name, system, tree, routes and the layers around them.

    `BaseSubsystem` adds facets, and the life from build to dispose.
    """

    def __init__(
        self, name: str, ms: MessageSystem | None, parent: Node | None, middleware: Iterable[Middleware]
    ) -> None:
        if not valid_name(name):
            raise ConfigError("name", f"expected a letter, then letters, digits, '_', '.', '-'; got {name!r}")
        self.name = name
        self.state = State.NEW
        self.middleware: list[Middleware] = list(middleware)
        self.parent: Node | None = None
        self.children: list[Node] = []
        self._layers: dict[str, Layer] = {}
        self._routes = Router()
        self._adopted: list[Route] = []
        self.ms: MessageSystem | None = ms if ms is not None or parent is None else parent.ms

    def _enter(self, parent: Node | None) -> None:
        """Join the system and the tree. A subclass calls this when its own attributes are set."""
        if self.ms is not None:
            self.ms.enrol(self)
        if parent is not None:
            parent.add_child(self)

    # -- what the tree and the system ask of a subsystem -------------------------------------------------

    @property
    @abstractmethod
    def facets(self) -> list[Facet]:
        """The facets, in the order of building."""

    @abstractmethod
    def find(self, kind: str) -> Any:
        """Return the facet of a kind; None if there is none."""

    @abstractmethod
    async def build(self) -> None:
        """Make the facets."""

    @abstractmethod
    async def start(self) -> None:
        """Start the facets."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop the facets."""

    @abstractmethod
    async def dispose(self) -> None:
        """Release the facets."""

    # Routes

    @property
    def routes(self) -> Iterator[Route]:
        """The routes registered now."""
        return iter(self._routes)

    def match(self, path: str) -> tuple[Route, Mapping[str, str]] | None:
        """The route of a path and its parameters, built or not; None when there is none."""
        return self._routes.match(path)

    def register_route(
        self,
        path: str,
        handler: Callable[..., Any],
        *,
        replace: bool = False,
        **settings: Unpack[RouteSettings],
    ) -> Route:
        """Lets `handler` answer `path`, at once if the subsystem is built.

        Clients may call it only with `expose=True`; `requires` names permissions that the caller's
        principal must have; `concurrent` lets it overlap others of one connection; `isolated` gives
        each call a task of its own; `timeout` bounds an async handler, in seconds; a `default` route
        gives way to any other. A taken path raises RouteError unless `replace` is set.
        """
        pattern = Pattern.parse(path)
        if pattern.subsystem != self.name:
            raise RouteError(path, f"belongs to {pattern.subsystem!r}; expected a path below {self.name}://")
        route = Route(pattern, handler, compile_plan(handler, pattern), **settings)
        held = self._routes.get(pattern)
        if held is not None and route.default and not held.default and not replace:
            return held
        self._routes.add(route, replace or (held is not None and held.default))
        if self.state is State.BUILT:
            self.compose(route)
            if self.ms is not None:
                self.ms.publish(route)
        return route

    def route(
        self, path: str, *, replace: bool = False, **settings: Unpack[RouteSettings]
    ) -> Callable[[Handler], Handler]:
        """`register_route` as a decorator; the function stays what it is."""

        def register(handler: Handler) -> Handler:
            self.register_route(path, handler, replace=replace, **settings)
            return handler

        return register

    def unregister_route(self, path: str) -> bool:
        """Takes a route out; False when there is none."""
        route = self._routes.get(Pattern.parse(path))
        return route is not None and self._withdraw(route)

    def use_middleware(self, middleware: Middleware) -> None:
        """Adds `async (message, options, call_next)` inside the earlier ones, for all routes."""
        self.middleware.append(middleware)
        self.recompose()

    def set_layer(self, name: str, layer: Layer | None) -> None:
        """Puts a facet's layer (a queue, listeners) around every handler, or takes it away again."""
        if layer is None:
            self._layers.pop(name, None)
        else:
            self._layers[name] = layer
        self.recompose()

    def compose(self, route: Route) -> None:
        """Puts around the route's handler what applies to it now."""
        outer = () if self.ms is None else self.ms.middleware
        compose(route, self._layers.values(), (*outer, *self.middleware), () if self.ms is None else self.ms.guards)

    def adopt(self, route: Route) -> None:
        """Composes a route that is kept elsewhere, now and at every change, until `dispose`."""
        self._adopted.append(route)
        self.compose(route)

    def recompose(self) -> None:
        """As `compose`, for all routes; called when something was added."""
        for route in [*self._routes, *self._adopted]:
            self.compose(route)

    def _withdraw(self, route: Route) -> bool:
        if self.ms is not None:
            self.ms.withdraw(route)
        return self._routes.remove(route)

    # Children

    @property
    def root(self) -> Node:
        """The subsystem at the top of the tree; itself when it has no parent."""
        return self if self.parent is None else self.parent.root

    def add_child(self, child: Node) -> Node:
        """Makes `child` part of this subsystem: built after it, disposed before it, in the same system."""
        if child.parent is not None or child is self or child in self.root.walk():
            raise ConfigError("parent", f"{child.name!r} already has its place in a tree")
        if self.ms is not None and child.ms is not self.ms:
            if child.ms is not None:
                raise ConfigError("parent", f"{child.name!r} and {self.name!r} belong to different systems")
            for each in child.walk():
                self.ms.enrol(each)
        child.parent = self
        self.children.append(child)
        return child

    def walk(self) -> Iterator[Node]:
        """This subsystem and everything below it, depth first, parents before children."""
        yield self
        for child in self.children:
            yield from child.walk()
