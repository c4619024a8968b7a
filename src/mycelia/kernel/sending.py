"""Helpers of `MessageSystem.send`: the rights that a message carries, and handlers that are cancelled."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

from mycelia.errors import HandlerError
from mycelia.kernel.messages.context import Caller, Options
from mycelia.kernel.messages.current import CURRENT
from mycelia.kernel.messages.message import Delivery, Message

__all__ = ["address", "in_own_task", "raise_cancellation"]


def address(message: Message, system: Options, as_system: bool) -> tuple[Delivery, Options]:
    """Return the message as it is delivered, and the options with which its handler runs.

    Inside a handler the message carries that handler's subsystem as caller, and the principal of the message being
    handled.

    Args:
        message: The message to send.
        system: The options of the system, for messages that are sent outside every handler.
        as_system: True to send with the system's rights from inside a handler.
    """
    current = CURRENT.get()
    if current is None:
        return Delivery(message, system.caller, None, None), system
    route, parent, had = current
    if as_system:
        options = Options(caller=Caller("system", route.subsystem))
    else:
        options = Options(caller=route.caller, principal=had.principal, origin=had.origin)
    return Delivery(message, options.caller, options.principal, parent.metadata.trace_id), options


async def in_own_task(value: Any) -> Any:
    """Await a handler in a task of its own, so that nothing that it sets or cancels reaches the sender."""

    async def finish() -> Any:
        return await value

    return await asyncio.create_task(finish())


def raise_cancellation(path: str, error: asyncio.CancelledError) -> NoReturn:
    """Raise the cancellation of the sender. A cancellation that the handler caused itself becomes a HandlerError."""
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise error
    raise HandlerError("the handler was cancelled", path=path) from error
