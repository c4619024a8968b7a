"""The message that is being handled right now."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

from mycelia.kernel.messages.context import Caller, Options
from mycelia.kernel.messages.message import Message

__all__ = ["CURRENT", "HandlingRoute"]


class HandlingRoute(Protocol):
    """The part of a route that a message needs to know which its handler sends."""

    @property
    def path(self) -> str: ...

    @property
    def subsystem(self) -> str: ...

    @property
    def caller(self) -> Caller: ...


CURRENT: ContextVar[tuple[HandlingRoute, Message, Options] | None] = ContextVar("mycelia.current", default=None)
"""The route, the message and the options that a handler runs with.

The code that runs a handler sets it. Tasks that the handler starts inherit it.
"""
