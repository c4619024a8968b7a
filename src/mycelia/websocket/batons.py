"""Heavy work takes turns: in each turn of the event loop as much of it as fits, whoever asks.

What a connection does in one slice is bounded, but many connections that all use their slices would still make a turn
of the loop as long as all slices together, and everybody else waits for it. So whoever brings many requests at once,
has used up a slice, or has a large message to decode, waits here for a baton. Batons go round in the order of asking,
one more in each turn that was short; after one that was long the next turn is for the light work that has come
meanwhile, and then go half as many. Light work never asks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

__all__ = ["TURN", "Batons"]


TURN = 0.004  # seconds that a turn of the loop should take at most
_MOST = 64


class Batons:
    """Each is held for one turn of the loop; the queue is as long as the connections that ask, each once."""

    __slots__ = ("_at", "_clock", "_given", "_moving", "_waiting", "share")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._waiting: deque[tuple[asyncio.Future[None], bool]] = deque()
        self._moving = False
        self._given = 0  # in the turn before
        self._at = 0.0
        self.share = 1  # how many are given out in this turn

    def __len__(self) -> int:
        return len(self._waiting)

    async def take(self, *, alone: bool = False) -> None:
        """Returns, in a later turn of the loop, when it is the caller's turn; who is cancelled leaves the queue.

        What may take longer than a turn should is done `alone`, with no other holder in the same turn.
        """
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append((turn, alone))
        if not self._moving:
            self._moving = True
            self._at = self._clock()
            loop.call_soon(self._pass_on)
        await turn

    def _pass_on(self) -> None:
        now = self._clock()
        took, self._at = now - self._at, now
        if took <= TURN:
            self.share = min(self.share + (self._given > 0), _MOST)
        elif self._given:
            self.share = max(1, self.share // 2)
            # Whoever has come meanwhile is read now and served in the next turn; the batons go on in that after it.
            self._given = 0
            asyncio.get_running_loop().call_soon(self._pass_on)
            return
        given = 0
        while self._waiting and given < self.share:
            turn, alone = self._waiting[0]
            if alone and given and not turn.done():
                break
            self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                given = _MOST if alone else given + 1
        self._given, self._moving = given, given > 0
        if given:
            # The holders are woken in the next turn, and this runs behind them.
            asyncio.get_running_loop().call_soon(self._pass_on)
