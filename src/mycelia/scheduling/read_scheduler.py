"""Connections that have filled a whole read take turns with the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["Rests"]

_SHARE = 2  # connections that read on in one turn of the loop; what one read brings may take a millisecond


class Rests:
    """Those that rest; each is in here once at most.

    One that sends without end brings one read in a turn of the loop, and many of them together no more than two.
    """

    __slots__ = ("_moving", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._moving = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, go_on: Callable[[], None]) -> None:
        """Calls `go_on` in a later turn of the loop, when it is its turn."""
        self._waiting.append(go_on)
        if not self._moving:
            self._moving = True
            asyncio.get_running_loop().call_soon(self._pass_on)

    def _pass_on(self) -> None:
        try:
            for _ in range(min(_SHARE, len(self._waiting))):
                self._waiting.popleft()()
        finally:  # one that fails does not keep the others waiting for ever
            self._moving = bool(self._waiting)
            if self._moving:
                asyncio.get_running_loop().call_soon(self._pass_on)
