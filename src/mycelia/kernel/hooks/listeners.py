"""The facet `listeners`: who wants to know what became of a subsystem's messages."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

from mycelia.errors import ConfigError
from mycelia.kernel.building.hook import Api, Context, hook
from mycelia.kernel.facet import Facet
from mycelia.kernel.messages.message import Message
from mycelia.kernel.node import Node
from mycelia.kernel.routing.handler import Call
from mycelia.kernel.routing.path import Pattern
from mycelia.kernel.routing.router import Route

__all__ = ["Listener", "Listeners", "use_listeners"]

Listener = Callable[[Message, BaseException | None], None]
"""`(message, error)`, after the handler is through; error is None when it returned."""

_log = logging.getLogger("mycelia.kernel")


class Listeners(Facet):
    """Calls plain functions after each handled message of the routes that they asked for.

    A listener cannot change the answer: its own failure is logged and ends there. As long as nobody
    listens, nothing stands between a message and its handler.
    """

    def __init__(self, subsystem: Node) -> None:
        self._subsystem = subsystem
        self._listeners: list[tuple[str, Listener]] = []

    def on(self, path: str, listener: Listener) -> Callable[[], None]:
        """Listens to the route registered as `path`, to all below `name://some/*`, or to all with `*`.

        Returns the function that ends it.
        """
        if inspect.iscoroutinefunction(listener):
            raise ConfigError("listener", "expected a plain function; start a task in it for what takes time")
        if path != "*":
            Pattern.parse(path)
        entry = (path, listener)
        self._listeners.append(entry)
        self._subsystem.set_layer("listeners", self._layer)

        def off() -> None:
            if entry in self._listeners:
                self._listeners.remove(entry)
                self._subsystem.set_layer("listeners", self._layer if self._listeners else None)

        return off

    async def dispose(self) -> None:
        """Forgets all listeners."""
        self._listeners.clear()

    def _layer(self, route: Route, inner: Call) -> Call:
        concerned = [
            each
            for path, each in self._listeners
            if path in ("*", route.path) or (path[-2:] == "/*" and route.path.startswith(path[:-1]))
        ]
        if not concerned:
            return inner

        async def call(message: Any, params: Any, options: Any) -> Any:
            try:
                value = inner(message, params, options)
                value = await value if inspect.isawaitable(value) else value
            except BaseException as fault:
                _tell(concerned, message, fault)
                raise
            _tell(concerned, message, None)
            return value

        return call


def _tell(listeners: list[Listener], message: Message, fault: BaseException | None) -> None:
    for listener in listeners:
        try:
            listener(message, fault)
        except Exception:
            _log.exception("a listener to %s failed", message.path)


@hook(kind="listeners", requires=["processor"])
def use_listeners(ctx: Context, api: Api, subsystem: Node) -> Facet:
    """Makes the listeners facet."""
    return Listeners(subsystem)
