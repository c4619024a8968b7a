"""Running one handler: under the request's deadline, and in a task of its own where the route asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from mycelia.errors import RequestTimeout
from mycelia.kernel.messages.context import CURRENT
from mycelia.kernel.routing.router import Route
from mycelia.observability.counters import Limit
from mycelia.realtime.inbound.client_message import ClientMessage

if TYPE_CHECKING:
    from mycelia.realtime.core import Runtime

__all__ = ["clear_cancellation", "run"]


async def run(
    runtime: Runtime, route: Route, message: ClientMessage, params: Mapping[str, str], timeout: float | None
) -> Any:
    """What the handler returns. Raises RequestTimeout after `timeout` seconds, or those that the configuration allows
    at most, and whatever the handler raises.

    An isolated route runs in a task, and so in a context, of its own; cancelling the caller cancels it.
    """
    options = message.connection.options
    most = runtime.config.limits.handler_timeout
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
            return await runtime.own(call(), name=f"mycelia-isolated-{message.connection.id}")
    except TimeoutError:
        if deadline.expired() and timeout is not None:
            runtime.refusals.add(Limit.HANDLER_TIME)
            raise RequestTimeout(route.path, timeout) from None
        raise


def clear_cancellation() -> None:
    """Forgets the requests to cancel the current task: a handler ended in a cancellation of its own making."""
    task = asyncio.current_task()
    while task is not None and task.uncancel():
        pass
