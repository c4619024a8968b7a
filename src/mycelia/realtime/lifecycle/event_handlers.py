"""The application's handlers of connection events: `connect`, `disconnect`, `error` and `expiring`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from typing import Any, Literal

from mycelia.errors import ConfigError
from mycelia.kernel.messages.current import CURRENT
from mycelia.kernel.messages.message import new_trace_id
from mycelia.kernel.messages.outcome import read
from mycelia.kernel.routing.handler import compile_plan
from mycelia.kernel.routing.path import Pattern
from mycelia.kernel.routing.router import NO_PARAMS, Route
from mycelia.kernel.subsystem import BaseSubsystem
from mycelia.protocol.wire.codes import Close, Code
from mycelia.realtime.connection.connection import WebSocketConnection
from mycelia.realtime.inbound.client_message import ClientMessage
from mycelia.realtime.inbound.invoke import clear_cancellation
from mycelia.realtime.service_state import ServiceState
from mycelia.scheduling.task_owner import TaskOwner
from mycelia.serving.internal_error import internal_error

__all__ = ["ConnectionEvent", "EventHandlers", "refusal_of"]

ConnectionEvent = Literal["connect", "disconnect", "error", "expiring"]
_EVENTS: tuple[ConnectionEvent, ...] = ("connect", "disconnect", "error", "expiring")


class EventHandlers:
    """Runs the handlers of connection events: the route of the event first, then the registered handlers.

    Args:
        subsystem: The WebSocket subsystem, which owns the routes.
        tasks: Owns the tasks of handlers that run by themselves.
        state: Tells whether tasks are being cancelled.
    """

    def __init__(self, subsystem: BaseSubsystem, tasks: TaskOwner, state: ServiceState) -> None:
        self._subsystem, self._tasks, self._state = subsystem, tasks, state
        self._handlers: dict[str, list[Route]] = {event: [] for event in _EVENTS}

    def register(self, event: ConnectionEvent, handler: Any) -> None:
        """Add a handler that runs after the route of the event.

        Raises:
            ConfigError: There is no such event.
        """
        if event not in _EVENTS:
            raise ConfigError("event", f"expected one of {', '.join(_EVENTS)}, got {event!r}")
        pattern = Pattern.parse(self.path_of(event))
        route = Route(pattern, handler, compile_plan(handler, pattern))
        self._handlers[event].append(route)
        self._subsystem.adopt(route)

    def path_of(self, event: ConnectionEvent) -> str:
        """Return the path of an event."""
        return f"{self._subsystem.name}://{event}"

    def has(self, event: ConnectionEvent) -> bool:
        """Return True if the application handles an event."""
        return bool(self._routes(event))

    async def ask_connect(self, connection: WebSocketConnection, body: dict[str, Any]) -> tuple[Close, str] | None:
        """Ask the `connect` handlers.

        Returns:
            The close code and reason of the first handler that refuses the connection; None if all accept it.

        Raises:
            Exception: Whatever a handler raises.
        """
        for route in self._routes("connect"):
            rejection = refusal_of(await self._call(route, connection, body))
            if rejection is not None:
                return rejection
        return None

    async def tell(self, event: ConnectionEvent, connection: WebSocketConnection, body: dict[str, Any]) -> None:
        """Run the handlers of an event. A handler that fails is logged, and the next one runs."""
        for route in self._routes(event):
            try:
                await self._call(route, connection, body)
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and self._state.is_cancelling:
                    raise
                clear_cancellation()
                internal_error(f"a handler of {event} failed", connection.id, error, path=route.path)

    def tell_expiring(self, connection: WebSocketConnection, body: dict[str, Any]) -> None:
        """Run the handlers of `expiring` in a task of their own."""
        if self.has("expiring"):
            name = f"mycelia-expiring-{connection.id}"
            self._tasks.spawn(self.tell("expiring", connection, body), name=name)

    def _routes(self, event: ConnectionEvent) -> list[Route]:
        """Return the application's route of an event, unless it is the built-in one, and the registered handlers."""
        found = self._subsystem.match(self.path_of(event))
        own = [found[0]] if found is not None and not found[0].default else []
        return own + self._handlers[event]

    async def _call(self, route: Route, connection: WebSocketConnection, body: dict[str, Any]) -> Any:
        message = ClientMessage(route.path, body, connection, None, new_trace_id())
        options = connection.options
        CURRENT.set((route, message, options))
        try:
            value = route.call(message, NO_PARAMS, options)
            value = await value if inspect.isawaitable(value) else value
        except Exception:
            route.failed += 1
            raise
        route.handled += 1
        return value


def refusal_of(value: Any) -> tuple[Close, str] | None:
    """Return how the value that a `connect` handler returned refuses the client; None if it accepts.

    In doubt the client is refused: `False`, any `success` that is not true, and an `error` without a `success` refuse,
    even if the value is not quite a response envelope.
    """
    outcome = read(value)
    error = outcome.error.code if outcome.error is not None else ""
    if value is False or not outcome.success:
        return close_reason(error)
    if isinstance(value, Mapping) and (value.get("success", True) is not True or value.get("error")):
        given = value.get("error")
        return close_reason(str(given.get("code", "")) if isinstance(given, Mapping) else "")
    return None


def close_reason(code: str) -> tuple[Close, str]:
    """Return the close code and reason for the error code with which `connect` refused."""
    if code == Code.FORBIDDEN:
        return Close.FORBIDDEN, "not allowed"
    return Close.NOT_AUTHENTICATED, "not authenticated"
