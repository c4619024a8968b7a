"""A subsystem: a name, the routes below it, and the facets that its hooks give it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from mycelia.errors import BuildError, ConfigError, RouteError
from mycelia.kernel.building.builder import execute, settle, taken, verify
from mycelia.kernel.building.hook import Api, Context, Hook
from mycelia.kernel.building.lifecycle import NEXT, Callback, State, notify
from mycelia.kernel.hooks import canonical_hooks
from mycelia.kernel.routing.handler import compile_plan
from mycelia.kernel.routing.path import Pattern, valid_name
from mycelia.kernel.routing.pipeline import Layer, Middleware, compose
from mycelia.kernel.routing.router import Route, Router, RouteSettings

if TYPE_CHECKING:
    from mycelia.kernel.building.facet import Facet
    from mycelia.kernel.system import MessageSystem

__all__ = ["BaseSubsystem"]

Handler = TypeVar("Handler", bound=Callable[..., Any])
_OPTIONS = ("ms", "config", "queue", "middleware", "parent")


class BaseSubsystem:
    """Owns the paths `name://…` and answers the messages that are sent there.

    Given a system (`ms`) it is enrolled at once and reachable from `build()` to `dispose()`, as often
    as these follow each other. Routes may be registered at any time. Attached facets are attributes.
    The second positional argument may be a mapping of the options instead of keywords.
    """

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any] | None = None,
        *,
        ms: MessageSystem | None = None,
        config: Mapping[str, Any] | None = None,
        queue: Mapping[str, Any] | None = None,
        middleware: Iterable[Middleware] = (),
        parent: BaseSubsystem | None = None,
    ) -> None:
        if not valid_name(name):
            raise ConfigError("name", f"expected a letter, then letters, digits, '_', '.', '-'; got {name!r}")
        given = {} if options is None else dict(options)
        for key in given:
            if key not in _OPTIONS:
                raise ConfigError(key, f"unknown option; known: {', '.join(_OPTIONS)}")
        self.name = name
        self.parent: BaseSubsystem | None = None
        self.children: list[BaseSubsystem] = []
        self.config: Mapping[str, Any] = given.get("config", config) or {}
        self.state = State.NEW
        self.middleware: list[Middleware] = [*given.get("middleware", ()), *middleware]
        self._queue = given.get("queue", queue)
        self._hooks: list[Hook] = []
        self._on_init: list[Callback] = []
        self._on_dispose: list[Callback] = []
        self._layers: dict[str, Layer] = {}
        self._routes = Router()
        self._built_routes: list[Route] = []
        self._adopted: list[Route] = []
        self._facets: dict[str, Facet] = {}
        self._attached: dict[str, Facet] = {}
        self._moving = asyncio.Lock()
        system, above = given.get("ms", ms), given.get("parent", parent)
        self.ms: MessageSystem | None = system if system is not None or above is None else above.ms
        if self.ms is not None:
            self.ms.enrol(self)
        if above is not None:
            above.add_child(self)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_attached"][name]
        except KeyError:
            raise AttributeError(
                f"subsystem {self.__dict__.get('name')!r} has no attribute and no attached facet {name!r}; "
                "facets appear with build()",
                name=name,
                obj=self,
            ) from None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.state.value})"

    # What it is made of

    def default_hooks(self) -> Iterable[Hook]:
        """The hooks of every subsystem of this class, before those of `use()`; override to change."""
        return canonical_hooks(queue=self._queue is not None)

    def use(self, hook: Hook) -> BaseSubsystem:
        """Adds a hook to the next build; returns the subsystem, so that calls can be chained."""
        if not isinstance(hook, Hook):
            raise ConfigError("use", f"expected what @hook(kind=…) made, got {type(hook).__name__}")
        if self.state is State.BUILT:
            raise BuildError(self.name, f"hook {hook.kind!r} came after build(); use() it before")
        self._hooks.append(hook)
        return self

    def on_init(self, callback: Callback) -> None:
        """Calls (and awaits) `callback()` or `callback(subsystem)` at the end of every build."""
        self._on_init.append(callback)

    def on_dispose(self, callback: Callback) -> None:
        """Calls (and awaits) `callback()` or `callback(subsystem)` first thing in every dispose."""
        self._on_dispose.append(callback)

    def find(self, kind: str) -> Any:
        """The facet of that kind, attached or not; None while there is none."""
        return self._facets.get(kind)

    @property
    def facets(self) -> list[Facet]:
        """The facets, in the order of building."""
        return list(self._facets.values())

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
    def root(self) -> BaseSubsystem:
        """The subsystem at the top of the tree; itself when it has no parent."""
        return self if self.parent is None else self.parent.root

    def add_child(self, child: BaseSubsystem) -> BaseSubsystem:
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

    def walk(self) -> Iterator[BaseSubsystem]:
        """This subsystem and everything below it, depth first, parents before children."""
        yield self
        for child in self.children:
            yield from child.walk()

    # Life

    async def build(self) -> None:
        """Makes the facets, then the children, and becomes reachable.

        Everything that can be known is verified first. A failure disposes of what had been made, in
        reverse order, before BuildError leaves; a later build may succeed. Built already: does nothing.
        """
        async with self._moving:
            if (self.state, "build") not in NEXT:
                return
            ordered = verify(self.name, [*self.default_hooks(), *self._hooks], taken(type(self)))
            try:
                await self._make(ordered)
            except BaseException as fault:
                for problem in await self._unmake():
                    fault.add_note(f"while rolling back: {type(problem).__name__}: {problem}")
                raise
            self.state = NEXT[self.state, "build"]

    async def _make(self, ordered: list[Hook]) -> None:
        context = Context(self.name, self.config, self.ms, self.parent, self._queue)
        api = Api(self, self._facets, self._built_routes)
        await execute(ordered, context, api, self, self._facets)
        self._attached.update({each.kind: self._facets[each.kind] for each in ordered if each.attach})
        for child in self.children:
            await child.build()
        for callback in self._on_init:
            try:
                await notify(callback, self)
            except Exception as fault:
                problem = f"an on_init callback raised {type(fault).__name__}: {fault}"
                raise BuildError(self.name, problem) from fault
        self.recompose()
        if self.ms is not None:
            for route in self._routes:
                self.ms.publish(route)

    async def dispose(self) -> None:
        """Becomes unreachable and gives everything back: children first, then the facets, in reverse.

        Every step is taken even if an earlier one fails; then the failures leave as one ExceptionGroup.
        Not built: does nothing.
        """
        async with self._moving:
            if (self.state, "dispose") not in NEXT:
                return
            self.state = NEXT[self.state, "dispose"]
            if self.ms is not None:
                for route in self._routes:
                    self.ms.withdraw(route)
            callbacks = [partial(notify, each, self) for each in reversed(self._on_dispose)]
            faults = await self._unmake(callbacks)
            if faults:
                raise ExceptionGroup(f"disposing of subsystem {self.name!r}", faults)

    async def _unmake(self, first: Iterable[Callable[[], Awaitable[object]]] = ()) -> list[Exception]:
        children = [each.dispose for each in reversed(self.children)]
        facets = [each.dispose for each in reversed(self._facets.values())]
        try:
            return await settle([*first, *children, *facets])
        finally:
            for route in self._built_routes:
                self._withdraw(route)
            self._built_routes.clear()
            self._facets.clear()
            self._attached.clear()
            self._layers.clear()
            self._adopted.clear()

    async def start(self) -> None:
        """Starts the facets that do not run yet, in the order of building; called by the system's `async with`."""
        for facet in self.facets:
            if not facet.is_running():
                await facet.start()

    async def stop(self) -> None:
        """Stops the facets in reverse order; called by the system before it disposes of anything."""
        faults = await settle([each.stop for each in reversed(self._facets.values())])
        if faults:
            raise ExceptionGroup(f"stopping subsystem {self.name!r}", faults)
