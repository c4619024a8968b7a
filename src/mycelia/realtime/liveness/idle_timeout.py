"""Closes connections that are silent for too long (4506) or have existed for too long (4507). Both are off by default.

Time is measured by the monotonic clock, so that setting the system's clock does not make connections idle. A peer that
the server stopped reading is not idle. After an iteration that blocked the event loop no peer is checked, because the
server has not read yet what peers sent meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random
from time import monotonic, time
from typing import Protocol

from mycelia.protocol.wire.codes import Close
from mycelia.scheduling.timer_wheel import TICK

__all__ = ["IdleTimeout", "Tracked"]

_JITTER = 0.1  # by which part a lifetime may be shorter, so that clients that came together do not leave together


class Tracked(Protocol):
    """Something that can be silent for too long; the link of a connection."""

    active_at: float
    paused: bool


class _Track:
    """When a connection ends, when it was last checked, and how long it had been silent then."""

    __slots__ = ("active_at", "checked_at", "ends_at", "silent")

    def __init__(self, active_at: float, now: float, ends_at: float) -> None:
        self.active_at, self.checked_at, self.ends_at, self.silent = active_at, now, ends_at, 0.0


class IdleTimeout:
    """Tracks the silence and the age of connections.

    Args:
        idle_timeout: The longest silence, in seconds; 0 for no limit.
        connection_lifetime: The greatest age, in seconds; 0 for no limit.
        clock: A monotonic clock.
        wall: The clock that `active_at` is read from.
        chance: Returns a random number between 0 and 1.

    Attributes:
        is_on: True if one of the two limits is set.
    """

    def __init__(
        self,
        idle_timeout: float,
        connection_lifetime: float,
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], float] = time,
        chance: Callable[[], float] = random,
    ) -> None:
        self._idle, self._lifetime = idle_timeout, connection_lifetime
        self._clock, self._wall, self._chance = clock, wall, chance
        self._tracks: dict[Tracked, _Track] = {}
        self.is_on = bool(self._idle or self._lifetime)

    def __len__(self) -> int:
        return len(self._tracks)

    def begin(self, connection: Tracked) -> float:
        """Track an open connection; return the seconds until its first check."""
        now = self._clock()
        ends_at = now + self._lifetime * (1 - _JITTER * self._chance()) if self._lifetime else float("inf")
        self._tracks[connection] = _Track(connection.active_at, now, ends_at)
        return min(self._idle or float("inf"), ends_at - now)

    def end(self, connection: Tracked) -> None:
        """Stop tracking a connection."""
        self._tracks.pop(connection, None)

    def check(self, connection: Tracked, late: bool) -> tuple[Close, str] | float:
        """Check a connection.

        Args:
            connection: A tracked connection.
            late: True if the event loop was blocked, so that messages may not have been read yet.

        Returns:
            The close code and reason if a limit is exceeded, else the seconds until the next check.
        """
        track = self._tracks[connection]
        now = self._clock()
        self._update(track, connection, now)
        until = track.ends_at - now
        if until <= 0:
            return Close.LIFETIME_OVER, "the connection is as old as one may be"
        if self._idle:
            left = self._idle - track.silent
            if left <= 0:
                if not late:
                    return Close.IDLE, "no message for too long"
                left = TICK
            until = min(until, left)
        return max(until, TICK)

    def _update(self, track: _Track, connection: Tracked, now: float) -> None:
        """Add the time since the last check to the silence. If a message came, only the time after it counts."""
        passed = now - track.checked_at
        track.checked_at = now
        if connection.paused:
            track.silent = 0.0
        elif connection.active_at == track.active_at:
            track.silent += passed
        else:
            track.active_at = connection.active_at
            track.silent = min(passed, max(0.0, self._wall() - track.active_at))
