"""One timer for a session that computes its next deadline anew after every event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

__all__ = ["DeadlineTimer"]


class DeadlineTimer:
    """A timer that calls back once, at the earliest of the deadlines that it was given.

    A deadline later than the pending one does not move the timer. The session's callback then finds nothing due and
    sets the next deadline, which is cheaper than a new timer handle for every event.
    """

    __slots__ = ("_due", "_handle", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._due = inf  # kept here because uvloop's handles do not tell the deadline of what was due at once

    def call_by(self, due: float, callback: Callable[[], object]) -> None:
        """Call `callback` at the event-loop time `due`, or earlier."""
        if due < self._due:
            self.cancel()
            self._due, self._handle = due, self._loop.call_at(due, self._expire, callback)

    def cancel(self) -> None:
        """Drop the pending call."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle, self._due = None, inf

    def _expire(self, callback: Callable[[], object]) -> None:
        self._handle, self._due = None, inf
        callback()
