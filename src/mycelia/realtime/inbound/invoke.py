"""Running one handler: under the request's deadline, and in a task of its own if the route asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from inspect import isawaitable
from time import monotonic
from typing import Any

from mycelia.errors import RequestTimeout
from mycelia.kernel.messages.current import CURRENT
from mycelia.kernel.routing.router import Route
from mycelia.observability.counters import Counter, EventCounters
from mycelia.realtime.inbound.client_message import ClientMessage
from mycelia.scheduling.task_owner import TaskOwner

__all__ = ["HandlerTimer", "Invoker", "clear_cancellation", "clear_pending_cancellation"]


class Invoker:
    """Runs the handlers of one subsystem that the worker's fast path does not run.

    Args:
        handler_timeout: The longest time that a handler may take, in seconds; 0 for no limit.
        tasks: Owns the tasks of isolated routes.
        counters: Counts handlers that took too long.
    """

    def __init__(self, handler_timeout: float, tasks: TaskOwner, counters: EventCounters) -> None:
        self._handler_timeout, self._tasks, self._counters = handler_timeout, tasks, counters

    async def run(
        self, route: Route, message: ClientMessage, params: Mapping[str, str], timeout: float | None
    ) -> object:
        """Run a handler and return what it returns.

        An isolated route runs in a task of its own, and so in a context of its own. Cancelling the caller cancels it.

        Args:
            route: The route to call.
            message: The message.
            params: The path parameters.
            timeout: The deadline of the request, in seconds; None for no deadline.

        Raises:
            RequestTimeout: The handler took longer than `timeout` or `handler_timeout`.
            Exception: Whatever the handler raises.
        """
        options = message.connection.options
        most = self._handler_timeout
        if most and (timeout is None or timeout > most):
            timeout = most

        async def call() -> Any:
            CURRENT.set((route, message, options))
            value = route.call(message, params, options)
            return await value if isawaitable(value) else value

        deadline = asyncio.timeout(timeout)
        try:
            async with deadline:
                if not route.isolated:
                    return await call()
                name = f"mycelia-isolated-{message.connection.id}"
                return await self._tasks.spawn(call(), name=name, log_failure=False)
        except TimeoutError:
            if deadline.expired() and timeout is not None:
                self._counters.add(Counter.HANDLER_TIME)
                raise RequestTimeout(route.path, timeout) from None
            raise


class HandlerTimer:
    """Cancels a task whose handler takes too long.

    One timer of the event loop serves many handlers. When it fires, it looks at the handler that runs then. It is set
    again for the time that this handler has left.

    Args:
        task: The task that runs the handlers.
        seconds: The longest time that a handler may take.

    Attributes:
        expired: True if the handler that runs was cancelled because its time was over.
    """

    __slots__ = ("_handle", "_loop", "_seconds", "_started_at", "_task", "expired")

    def __init__(self, task: asyncio.Task[Any], seconds: float) -> None:
        self._task, self._seconds = task, seconds
        self._loop = task.get_loop()
        self._started_at = 0.0  # 0 while no handler runs
        self._handle: asyncio.TimerHandle | None = None
        self.expired = False

    def start(self) -> None:
        """Begin to time a handler."""
        self._started_at, self.expired = monotonic(), False
        if self._handle is None:
            self._handle = self._loop.call_later(self._seconds, self._fire)

    def stop(self) -> None:
        """End timing, because the handler has returned."""
        self._started_at = 0.0

    def cancel(self) -> None:
        """Give back the timer of the event loop."""
        self._started_at = 0.0
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        if not self._started_at:
            return
        left = self._started_at + self._seconds - monotonic()
        if left > 0:
            self._handle = self._loop.call_later(left, self._fire)
        else:
            self.expired = True
            self._task.cancel()


def clear_cancellation() -> None:
    """Withdraw the cancellations of the current task, because a handler caused them itself."""
    task = asyncio.current_task()
    while task is not None and task.uncancel():
        pass


async def clear_pending_cancellation(task: asyncio.Task[Any]) -> None:
    """Withdraw the cancellations of the current task, and let one that is already on its way come out here.

    Before Python 3.13 `uncancel` leaves the cancellation pending. Suspending lets it come out.

    Raises:
        CancelledError: The cancellation that was pending.
    """
    while task.uncancel():
        pass
    await asyncio.sleep(0)
