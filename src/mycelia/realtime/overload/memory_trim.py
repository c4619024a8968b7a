"""Gives memory that the process holds but does not use back to the system.

The memory that many clients needed stays resident when they are gone: Python and malloc keep it for later use. Under a
ceiling on resident memory this would keep new clients out for ever.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from time import monotonic

__all__ = ["MemoryTrim", "malloc_trim"]

_PERIOD = 10.0  # seconds between two runs; with tens of thousands of objects a run blocks for tens of milliseconds


class MemoryTrim:
    """Collects garbage, frees the spare objects that Python keeps, and makes malloc give back free memory.

    A server without overload should not do this: the memory is needed again when clients come back.

    Args:
        steps: What to run; the garbage collector and `malloc_trim` by default.
        clock: A monotonic clock.
    """

    __slots__ = ("_again_at", "_clock", "_steps")

    def __init__(
        self, steps: tuple[Callable[[], object], ...] | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._steps = (gc.collect, malloc_trim) if steps is None else steps
        self._clock = clock
        self._again_at = float("-inf")

    def run(self) -> bool:
        """Trim, unless the last run was less than ten seconds ago. Return True if it was done."""
        now = self._clock()
        if now < self._again_at:
            return False
        self._again_at = now + _PERIOD
        for step in self._steps:
            step()
        return True


def malloc_trim() -> bool:
    """Return True if malloc gave memory back. Only glibc offers this call."""
    try:
        import ctypes  # rarely needed, large, and absent from some Pythons

        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (ImportError, OSError, AttributeError, TypeError):
        return False
