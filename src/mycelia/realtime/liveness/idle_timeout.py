"""Ends connections that have been silent for too long (4506), or have lived for too long (4507); off by default.

Time is judged by the monotonic clock: one that is set does not make everybody idle. A peer that we stopped reading is
not idle, and after a turn in which the loop was blocked nobody is judged: what they sent has not been read yet.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random
from time import monotonic, time
from typing import TYPE_CHECKING, Protocol

from mycelia.protocol.wire.codes import Close
from mycelia.scheduling.timer_wheel import TICK

if TYPE_CHECKING:
    from mycelia.realtime.config.limits import LimitsConfig

__all__ = ["Ageing", "Mortal"]

_JITTER = 0.1  # of a lifetime, by which it may be shorter: those who came together do not go together


class Mortal(Protocol):
    """What can be silent for too long; a connection."""

    active_at: float
    paused: bool


class _Age:
    """When a connection ends, when it was last looked at, and for how long it had been silent then."""

    __slots__ = ("active_at", "ends_at", "looked_at", "silent")

    def __init__(self, active_at: float, now: float, ends_at: float) -> None:
        self.active_at, self.looked_at, self.ends_at, self.silent = active_at, now, ends_at, 0.0


class Ageing:
    """Knows the age of every connection, where one of the two limits is on."""

    def __init__(
        self,
        limits: LimitsConfig,
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], float] = time,
        chance: Callable[[], float] = random,
    ) -> None:
        self._idle, self._lifetime = limits.idle_timeout, limits.connection_lifetime
        self._clock, self._wall, self._chance = clock, wall, chance
        self._ages: dict[Mortal, _Age] = {}
        self.on = bool(self._idle or self._lifetime)

    def __len__(self) -> int:
        return len(self._ages)

    def begin(self, connection: Mortal) -> float:
        """The connection is open; returns in how many seconds to look at it."""
        now = self._clock()
        ends_at = now + self._lifetime * (1 - _JITTER * self._chance()) if self._lifetime else float("inf")
        self._ages[connection] = _Age(connection.active_at, now, ends_at)
        return min(self._idle or float("inf"), ends_at - now)

    def end(self, connection: Mortal) -> None:
        """The connection is gone."""
        self._ages.pop(connection, None)

    def verdict(self, connection: Mortal, late: bool) -> tuple[Close, str] | float:
        """How to close it; else the seconds until the next look."""
        age = self._ages[connection]
        now = self._clock()
        self._listen(age, connection, now)
        until = age.ends_at - now
        if until <= 0:
            return Close.LIFETIME_OVER, "the connection is as old as one may be"
        if self._idle:
            left = self._idle - age.silent
            if left <= 0:
                if not late:
                    return Close.IDLE, "no message for too long"
                left = TICK
            until = min(until, left)
        return max(until, TICK)

    def _listen(self, age: _Age, connection: Mortal, now: float) -> None:
        """Adds the time since the last look to the silence; where a message came since, only the part after it."""
        passed = now - age.looked_at
        age.looked_at = now
        if connection.paused:
            age.silent = 0.0
        elif connection.active_at == age.active_at:
            age.silent += passed
        else:
            age.active_at = connection.active_at
            age.silent = min(passed, max(0.0, self._wall() - age.active_at))
