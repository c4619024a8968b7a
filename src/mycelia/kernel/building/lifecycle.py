"""The life of a subsystem as data, and the calling back of those who want to know about it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import Enum
from typing import Any, Literal

__all__ = ["NEXT", "Callback", "State", "notify"]

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
