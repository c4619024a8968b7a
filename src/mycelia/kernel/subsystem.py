"""A subsystem: a name, the routes below it, and the facets that its hooks give it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Self

from mycelia.errors import BuildError, ConfigError
from mycelia.kernel.building.builder import execute, taken, verify
from mycelia.kernel.building.hook import Api, Context, Hook
from mycelia.kernel.facet import Facet
from mycelia.kernel.hooks import canonical_hooks
from mycelia.kernel.lifecycle import NEXT, Callback, State, notify, settle
from mycelia.kernel.node import Node
from mycelia.kernel.routing.pipeline import Middleware
from mycelia.kernel.routing.router import Route
from mycelia.kernel.system import MessageSystem

__all__ = ["BaseSubsystem"]

_OPTIONS = ("ms", "config", "queue", "middleware", "parent")


class BaseSubsystem(Node):
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
        parent: Node | None = None,
    ) -> None:
        given = {} if options is None else dict(options)
        for key in given:
            if key not in _OPTIONS:
                raise ConfigError(key, f"unknown option; known: {', '.join(_OPTIONS)}")
        above = given.get("parent", parent)
        super().__init__(name, given.get("ms", ms), above, [*given.get("middleware", ()), *middleware])
        self.config: Mapping[str, Any] = given.get("config", config) or {}
        self._queue = given.get("queue", queue)
        self._hooks: list[Hook] = []
        self._on_init: list[Callback] = []
        self._on_dispose: list[Callback] = []
        self._built_routes: list[Route] = []
        self._facets: dict[str, Facet] = {}
        self._attached: dict[str, Facet] = {}
        self._moving = asyncio.Lock()
        self._enter(above)

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

    def use(self, hook: Hook) -> Self:
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
