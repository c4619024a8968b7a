"""One timer for everybody: a wheel of slots that asks each connection, when its time comes, what is due.

A connection is in one slot at most, and a slot is a set, so an idle connection costs a set entry and no
timer. Time is judged late rather than early: `late` tells that the loop was blocked, so that whoever judges
can let it read what has arrived before anybody is declared dead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from math import ceil
from typing import Protocol

__all__ = ["TICK", "Timed", "TimerWheel"]

logger = logging.getLogger("mycelia.websocket")

TICK = 0.25  # seconds; the resolution of every timer on the wheel
_SLOTS = 256


class Timed(Protocol):
    """Something that is due now and then."""

    wheel_slot: int  # where it is; -1 for nowhere. Only the wheel writes it.

    def due(self, now: float) -> float:
        """Called when its time has come; returns in how many seconds to call again, 0 for never."""


class TimerWheel:
    """Calls `due` of what was put on it. Runs only while something is on it."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._slots: list[set[Timed] | None] = [None] * _SLOTS
        self._far: dict[Timed, int] = {}  # rounds still to go for what is further away than one round
        self._turn: set[Timed] = set()  # those whose time has come and who have not been asked yet
        self._at = 0
        self._count = 0
        self._handle: asyncio.TimerHandle | None = None
        self._expected = 0.0
        self.late = False  # whether the turn that is running came late, because the loop was blocked

    def __len__(self) -> int:
        return self._count

    def put(self, timed: Timed, delay: float) -> None:
        """Calls `timed.due` in `delay` seconds, up to one tick late; moves it if it is already here."""
        self.remove(timed)
        if self._handle is None:
            self._arm()
        # Counted from the next tick, which may be at once: so never early.
        ticks = max(1, ceil((self._now() + delay - self._expected) / TICK) + 1)
        rounds, ahead = divmod(ticks, _SLOTS)
        slot = (self._at + ahead) % _SLOTS
        if ahead == 0:
            rounds -= 1
        if rounds > 0:
            self._far[timed] = rounds
        members = self._slots[slot]
        if members is None:
            members = self._slots[slot] = set()
        members.add(timed)
        timed.wheel_slot = slot
        self._count += 1

    def remove(self, timed: Timed) -> None:
        """Takes it off; does nothing if it is not here."""
        slot = timed.wheel_slot
        if slot < 0:
            return
        members = self._slots[slot]
        if members is not None:
            members.discard(timed)
            if not members:
                self._slots[slot] = None
        self._turn.discard(timed)
        timed.wheel_slot = -1
        self._far.pop(timed, None)
        self._count -= 1
        if not self._count and self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _now(self) -> float:
        return self._clock() if self._clock is not None else asyncio.get_running_loop().time()

    def _arm(self) -> None:
        self._expected = self._now() + TICK
        self._handle = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _tick(self) -> None:
        """One slot further. A blocked loop loses ticks rather than running several at once."""
        self._handle = None
        self._at = (self._at + 1) % _SLOTS
        now = self._now()
        self.late = now - self._expected > TICK
        self._turn, self._slots[self._at] = self._slots[self._at] or set(), None
        while self._turn:
            timed = self._turn.pop()
            rounds = self._far.get(timed, 0)
            if rounds > 0:
                self._stay(timed, rounds)
                continue
            timed.wheel_slot = -1
            self._count -= 1
            try:
                again = timed.due(now)
            except Exception:
                logger.exception("a timer failed")  # and the others of this turn still get theirs
                continue
            if again > 0 and timed.wheel_slot < 0:
                self.put(timed, again)
        if self._count and self._handle is None:
            self._arm()

    def _stay(self, timed: Timed, rounds: int) -> None:
        if rounds == 1:
            del self._far[timed]
        else:
            self._far[timed] = rounds - 1
        members = self._slots[self._at]
        if members is None:
            members = self._slots[self._at] = set()
        members.add(timed)
