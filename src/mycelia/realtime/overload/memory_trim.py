"""Gives memory that the process holds and does not use back to the system.

What many clients needed stays resident when they are gone: Python and malloc keep it for the next ones. Where resident
memory has a ceiling that would keep the next ones out, for ever.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from time import monotonic

__all__ = ["Relief", "trim"]

_PERIOD = 10.0  # seconds; it stops the loop for tens of milliseconds where tens of thousands of objects live


class Relief:
    """Collects garbage, with the spare objects that Python keeps of most types, and has malloc give back what is free.

    Not for a server that is well: the memory is needed again when the clients come back.
    """

    __slots__ = ("_again_at", "_clock", "_steps")

    def __init__(
        self, steps: tuple[Callable[[], object], ...] | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._steps = (gc.collect, trim) if steps is None else steps
        self._clock = clock
        self._again_at = float("-inf")

    def give_back(self) -> bool:
        """Whether it was done; not when the last time is less than ten seconds ago."""
        now = self._clock()
        if now < self._again_at:
            return False
        self._again_at = now + _PERIOD
        for step in self._steps:
            step()
        return True


def trim() -> bool:
    """Whether malloc gave something back; only glibc's does when it is told to."""
    try:
        import ctypes  # seldom needed, large, and absent from some Pythons

        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (ImportError, OSError, AttributeError, TypeError):
        return False
