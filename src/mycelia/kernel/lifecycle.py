"""The life of a subsystem as data, and the calling back of those who want to know about it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from typing import Any, Literal

__all__ = ["NEXT", "Callback", "State", "notify", "settle"]

Callback = Callable[..., Any]
Move = Literal["build", "dispose"]


class State(Enum):
    """Where a subsystem is in its life."""

    NEW = "new"
    BUILT = "built"
    DISPOSED = "disposed"


NEXT: dict[tuple[State, Move], State] = {
    (State.NEW, "build"): State.BUILT,
    (State.DISPOSED, "build"): State.BUILT,
    (State.BUILT, "dispose"): State.DISPOSED,
}
"""Every move there is; another one (a second build, a second dispose) does nothing."""


async def notify(callback: Callback, subject: object) -> None:
    """Calls back with the subject if the callback takes it, without if not, and awaits the result."""
    try:
        inspect.signature(callback).bind(subject)
        takes = True
    except (TypeError, ValueError):
        takes = False
    value = callback(subject) if takes else callback()
    if inspect.isawaitable(value):
        await value


async def settle(steps: Iterable[Callable[[], Awaitable[object]]]) -> list[Exception]:
    """Takes every step, whatever becomes of the others, and returns what went wrong.

    A cancellation cuts the current step short, not the rest; it is raised at the end, with the faults
    as its notes.
    """
    faults: list[Exception] = []
    cancelled: asyncio.CancelledError | None = None
    for step in steps:
        try:
            await step()
        except asyncio.CancelledError as fault:
            cancelled = fault
        except Exception as fault:
            faults.append(fault)
    if cancelled is None:
        return faults
    for each in faults:
        cancelled.add_note(f"meanwhile {type(each).__name__}: {each}")
    raise cancelled
