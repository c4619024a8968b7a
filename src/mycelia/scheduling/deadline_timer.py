"""The timer of a session that says, after everything that happens to it, when it next wants to look at the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

__all__ = ["Alarm"]


class Alarm:
    """Rings once. What is due later than it rings does not move it: the session then says so, and is asked again."""

    __slots__ = ("_due", "_handle", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._due = inf  # kept here, for uvloop's handles do not say it of what was due at once

    def by(self, due: float, ring: Callable[[], object]) -> None:
        """Calls `ring` at this time of the loop, or before it."""
        if due < self._due:
            self.cancel()
            self._due, self._handle = due, self._loop.call_at(due, self._ring, ring)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle, self._due = None, inf

    def _ring(self, ring: Callable[[], object]) -> None:
        self._handle, self._due = None, inf
        ring()
