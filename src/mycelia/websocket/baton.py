"""Heavy work takes turns: one piece of it in each turn of the event loop, whoever asks.

What a connection does in one slice is bounded, but many connections that all use their slices would still make a turn
of the loop as long as all slices together, and everybody else waits for it. So whoever has used up a slice, or has a
large message to decode, waits here for the baton: it goes round in the order of asking, and light work never asks.
"""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Baton"]


class Baton:
    """Held for one turn of the loop at a time; a queue as long as the connections that ask, each once."""

    __slots__ = ("_moving", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._moving = False

    def __len__(self) -> int:
        return len(self._waiting)

    async def take(self) -> None:
        """Returns, in a later turn of the loop, when it is the caller's turn; who is cancelled leaves the queue."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        if not self._moving:
            self._moving = True
            loop.call_soon(self._pass_on)
        await turn

    def _pass_on(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                # The holder is woken in the next turn, and this runs behind it.
                asyncio.get_running_loop().call_soon(self._pass_on)
                return
        self._moving = False
