"""The message system: knows every subsystem, finds the route of a path, and sends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import isawaitable
from types import MappingProxyType, TracebackType
from typing import Any, Protocol, Self

from mycelia.errors import BuildError, ConfigError, HandlerError, InvalidMessage, MyceliaError, NoRoute, NoSuchSubsystem
from mycelia.kernel.drain import drain, serve_until_signal
from mycelia.kernel.facet import Facet
from mycelia.kernel.lifecycle import State, settle
from mycelia.kernel.messages.context import Caller, Options
from mycelia.kernel.messages.current import CURRENT
from mycelia.kernel.messages.message import Message
from mycelia.kernel.messages.outcome import read
from mycelia.kernel.routing.path import check_path, subsystem_of, valid_name
from mycelia.kernel.routing.pipeline import Layer, Middleware, within
from mycelia.kernel.routing.router import NO_PARAMS, Route, Router
from mycelia.kernel.sending import address, in_own_task, raise_cancellation

__all__ = ["MessageSystem", "SystemMember"]


class SystemMember(Protocol):
    """A subsystem, as its message system sees it."""

    name: str
    state: State
    ms: MessageSystem | None
    parent: Any

    @property
    def routes(self) -> Iterator[Route]: ...

    @property
    def facets(self) -> list[Facet]: ...

    def find(self, kind: str) -> Any: ...

    def walk(self) -> Iterator[SystemMember]: ...

    def recompose(self) -> None: ...

    async def build(self) -> None: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def dispose(self) -> None: ...


class MessageSystem:
    """Subsystems under one roof, and the only way between them.

    `exact` holds the literal routes of built subsystems, live: one look-up finds them; read it only.
    """

    def __init__(self, name: str = "main", *, middleware: Iterable[Middleware] = ()) -> None:
        if not valid_name(name):
            raise ConfigError("name", f"expected a letter, then letters, digits, '_', '.', '-'; got {name!r}")
        self.name = name
        self.middleware: list[Middleware] = list(middleware)
        self.guards: list[Layer] = []
        self._subsystems: dict[str, SystemMember] = {}
        self._started: list[SystemMember] = []
        self._entered = 0
        self._draining = False
        self._router = Router()
        self.exact: Mapping[str, Route] = self._router.exact
        self._own = Options(caller=Caller("system", name))

    def __repr__(self) -> str:
        return f"MessageSystem({self.name!r}, subsystems={sorted(self._subsystems)})"

    # Members

    @property
    def subsystems(self) -> Mapping[str, SystemMember]:
        """Everything enrolled, by name, in order; built or not."""
        return MappingProxyType(self._subsystems)

    def find(self, name: str) -> SystemMember | None:
        """The enrolled subsystem of that name, or None."""
        return self._subsystems.get(name)

    def enrol(self, subsystem: SystemMember) -> None:
        """Makes the subsystem known, as `BaseSubsystem(…, ms=system)` does; `build()` makes it reachable."""
        held = self._subsystems.get(subsystem.name)
        if held is subsystem:
            return
        if held is not None:
            raise BuildError(subsystem.name, f"system {self.name!r} already has a subsystem of that name")
        if subsystem.ms is not None and subsystem.ms is not self:
            raise BuildError(subsystem.name, f"it belongs to another system, {subsystem.ms.name!r}")
        subsystem.ms = self
        self._subsystems[subsystem.name] = subsystem

    def register(self, subsystem: SystemMember) -> None:
        """Takes in a subsystem, with its children, that was made without `ms=`.

        One that is built already is reachable at once.
        """
        for each in subsystem.walk():
            self.enrol(each)
            if each.state is State.BUILT:
                each.recompose()
                for route in each.routes:
                    self.publish(route)

    def unregister(self, name: str) -> SystemMember:
        """Forgets a subsystem and its children: unreachable from now on, though not disposed."""
        subsystem = self._subsystems.get(name)
        if subsystem is None:
            raise NoSuchSubsystem(name, f"{name}://", self._subsystems)
        for each in subsystem.walk():
            for route in each.routes:
                self.withdraw(route)
            self._subsystems.pop(each.name, None)
            each.ms = None
            each.recompose()
        return subsystem

    def publish(self, route: Route) -> None:
        """Makes a route reachable; subsystems do it when they are built."""
        self._router.add(route, replace=True)

    def withdraw(self, route: Route) -> None:
        """Makes a route unreachable; a route that is not published is left alone."""
        self._router.remove(route)

    def use(self, middleware: Middleware) -> None:
        """Adds `async (message, options, call_next)` around every route, inside those added earlier."""
        self.middleware.append(middleware)
        for subsystem in self._subsystems.values():
            subsystem.recompose()

    def guard(self, layer: Layer) -> None:
        """Puts `layer(route, call)` around every route, inside its permission check, until `unguard`."""
        self.guards.append(layer)
        for subsystem in self._subsystems.values():
            subsystem.recompose()

    def unguard(self, layer: Layer) -> None:
        """Takes a guard away again; does nothing when it is not there."""
        if layer in self.guards:
            self.guards.remove(layer)
            for subsystem in self._subsystems.values():
                subsystem.recompose()

    # Messages

    def match(self, path: str) -> tuple[Route, Mapping[str, str]] | None:
        """The route of a path and its parameters; None when there is none, whyever. Raises InvalidPath."""
        return self._router.match(path)

    def resolve(self, path: str) -> tuple[Route, Mapping[str, str]]:
        """The route of a path and its parameters, or InvalidPath, NoSuchSubsystem, NoRoute."""
        found = self._router.match(path)
        if found is not None:
            return found
        check_path(path)
        name = subsystem_of(path)
        held = self._subsystems.get(name)
        if held is None or held.state is not State.BUILT:
            raise NoSuchSubsystem(name, path, [each.name for each in self._built()])
        raise NoRoute(path)

    async def send(self, message: Message, *, as_system: bool = False, timeout: float | None = None) -> Any:
        """The value that the message's handler returns, `{success, data}` unwrapped.

        Inside a handler the message carries that handler's subsystem as caller and the principal of the
        message being handled; `as_system=True` sends with the system's rights instead. Raises what
        `resolve` raises, Unauthorized, Forbidden, Overloaded, RequestTimeout after `timeout` seconds,
        any error of this package that the handler lets through, and HandlerError for everything else
        that it raises (chained) and for `success: false`. Cancelling it cancels the handler.
        """
        if not isinstance(message, Message):
            raise InvalidMessage(f"expected a Message, got {type(message).__name__}; send(Message(path, body))")
        path = message.path
        route = self.exact.get(path)
        params = NO_PARAMS
        if route is None:
            route, params = self.resolve(path)
        delivery, options = address(message, self._own, as_system)
        token = CURRENT.set((route, delivery, options))
        try:
            value = route.call(delivery, params, options)
            if route.is_async or isawaitable(value):
                value = await within(timeout, in_own_task(value) if route.isolated else value, path)
            outcome = read(value)
        except MyceliaError as fault:
            route.failed += 1
            fault.passed_on = True
            raise
        except Exception as fault:
            route.failed += 1
            raise HandlerError(f"the handler raised {type(fault).__name__}", path=path) from fault
        except asyncio.CancelledError as fault:
            route.failed += 1
            raise_cancellation(path, fault)
        finally:
            CURRENT.reset(token)
        if outcome.error is None:
            route.handled += 1
            return outcome.data
        route.failed += 1
        said = outcome.error
        details = said.details if isinstance(said.details, Mapping) else None
        raise HandlerError(said.message, code=said.code, details=details, retryable=said.retryable, path=path)

    # Life

    async def bootstrap(self) -> None:
        """Prepares the system for subsystems to be built. Further calls do nothing."""

    async def __aenter__(self) -> Self:
        """Bootstraps, builds what is enrolled and not yet built, and starts it, in order of enrolment.

        If any of it fails, all of it is stopped and disposed of before the error leaves. Entered again inside
        itself it only counts, and the outermost exit disposes.
        """
        self._entered += 1
        try:
            await self.bootstrap()
            for subsystem in self._roots():
                await subsystem.build()
            for subsystem in self._built():
                if subsystem not in self._started:
                    self._started.append(subsystem)
                    await subsystem.start()
        except BaseException as fault:
            self._entered = 0
            try:
                await self.dispose()
            except ExceptionGroup as group:
                fault.add_note(f"while disposing: {group!r}")
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entered = max(0, self._entered - 1)
        if not self._entered:
            await self.dispose()

    async def drain(self, deadline: float = 30.0) -> None:
        """Takes the system out of service without losing what it accepted; `dispose` is to follow.

        `health()` says so at once. Then every facet of every subsystem drains, all at the same time, within
        `deadline` seconds. What fails does not keep the rest from draining; it leaves as one ExceptionGroup.
        """
        self._draining = True
        await drain(self.name, self._built(), deadline)

    async def run_until_signal(self, deadline: float = 30.0, started: Callable[[], object] | None = None) -> None:
        """`async with system`, until SIGTERM or SIGINT; then drains. A second signal cuts that short.

        `started` is called once everything serves.
        """
        async with self:
            await serve_until_signal(self, deadline, started)

    async def dispose(self) -> None:
        """Stops what was started and disposes of what is built, both in reverse order.

        Subsystems stay enrolled, so the system can be entered again. A second call does nothing. What
        fails does not keep the rest from being disposed of; it leaves as one ExceptionGroup. It runs in a task
        of its own, because a handler that calls it is itself among what ends.
        """
        await asyncio.shield(asyncio.create_task(self._dispose(), name="mycelia-dispose"))

    async def _dispose(self) -> None:
        stops = [each.stop for each in reversed(self._started)]
        self._started.clear()
        self._draining = False
        faults = await settle([*stops, *(each.dispose for each in reversed(self._roots()))])
        if faults:
            raise ExceptionGroup(f"disposing of system {self.name!r}", faults)

    def _roots(self) -> list[SystemMember]:
        return [each for each in self._subsystems.values() if each.parent is None]

    def _built(self) -> list[SystemMember]:
        return [each for root in self._roots() for each in root.walk() if each.state is State.BUILT]

    # Looking in

    async def health(self) -> dict[str, Any]:
        """`{"healthy": bool, "subsystems": {name: report}}`; what is not built, or drains, is not healthy."""
        reports: dict[str, Any] = {}
        for name, subsystem in self._subsystems.items():
            facet = subsystem.find("health")
            if subsystem.state is not State.BUILT:
                reports[name] = {"healthy": False, "state": subsystem.state.value}
            else:
                reports[name] = {"healthy": True} if facet is None else await facet.report()
        healthy = not self._draining and all(each["healthy"] for each in reports.values())
        return {"healthy": healthy, "subsystems": reports}

    def statistics(self) -> dict[str, Any]:
        """The counters of every built subsystem, by name."""
        facets = {each.name: each.find("statistics") for each in self._built()}
        return {name: facet.snapshot() for name, facet in facets.items() if facet is not None}
