"""Heavy work takes turns: in each turn of the event loop a little of it, whoever asks.

What a connection does in one slice is bounded, but many connections that all use their slices would still make a turn
of the loop as long as all slices together, and everybody else waits for it. So whoever brings many requests at once,
has used up a slice, or has a large message to inflate or decode, waits here for a baton. Batons go round in the order
of asking, two in each turn; after one that was long the next turn is for the light work that has come meanwhile. Light
work never asks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

__all__ = ["TURN", "Batons"]


TURN = 0.002  # seconds; a longer turn of the loop is followed by one without heavy work
_SHARE = 2  # batons in one turn


class Batons:
    """Each is held for one turn of the loop; the queue is as long as the connections that ask, each once."""

    __slots__ = ("_at", "_clock", "_given", "_moving", "_waiting")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._waiting: deque[tuple[asyncio.Future[None], bool]] = deque()
        self._moving = False
        self._given = False  # some, in the turn before
        self._at = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    async def take(self, *, alone: bool = False) -> None:
        """Returns, in a later turn of the loop, when it is the caller's turn; who is cancelled leaves the queue.

        What may take longer than a turn should is done `alone`, with no other holder in the same turn.
        """
        await self._join(alone)

    def call(self, callback: Callable[[], object]) -> Callable[[], object]:
        """Calls back in a later turn of the loop, alone as well; what it returns takes that back."""
        turn = self._join(True)
        turn.add_done_callback(lambda done: None if done.cancelled() else callback())
        return turn.cancel

    def _join(self, alone: bool) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append((turn, alone))
        if not self._moving:
            self._moving = True
            self._at = self._clock()
            loop.call_soon(self._pass_on)
        return turn

    def _pass_on(self) -> None:
        now = self._clock()
        took, self._at = now - self._at, now
        # The holders are woken in the next turn, and this runs behind them.
        loop = asyncio.get_running_loop()
        if self._given and took > TURN:
            self._given = False  # whoever has come meanwhile is read now and served in the next turn
            loop.call_soon(self._pass_on)
            return
        given = 0
        while self._waiting and given < _SHARE:
            turn, alone = self._waiting[0]
            if alone and given and not turn.done():
                break
            self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                given = _SHARE if alone else given + 1
        self._given = self._moving = given > 0
        if given:
            loop.call_soon(self._pass_on)
