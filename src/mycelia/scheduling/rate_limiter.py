"""How many messages in how much time: a token bucket per key.

A bucket holds `max_messages` tokens and refills evenly over `window` seconds, so a burst of that many passes and
after it one message every `window / max_messages` seconds. What is kept of a bucket is one number, when it will be
full again; a bucket that is full is forgotten, since a new one would be no different.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from time import monotonic
from typing import Literal, get_args

from mycelia.errors import ConfigError

__all__ = ["By", "Rate", "RateLimiter"]

By = Literal["connection", "principal", "address", "route"]
"""Whose messages share a bucket where a route has a limiter."""

_NS = 1_000_000_000
_CAPACITY = 65_536


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `max_messages` in any burst, and as many in every `window` seconds after it."""

    max_messages: int
    window: float

    def __post_init__(self) -> None:
        most, window = self.max_messages, self.window
        if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= 10**9:
            raise ConfigError("max_messages", f"expected a whole number from 1 to 1e9, got {most!r}")
        if isinstance(window, bool) or not isinstance(window, (int, float)) or not 0.001 <= window <= 86400:
            raise ConfigError("window", f"expected 0.001 to 86400 seconds, got {window!r}")


class RateLimiter:
    """Counts messages by key and says which are too many. Every call is O(1).

    At most `capacity` keys are remembered. Buckets that are full again go first; if there is none, the key that
    was quiet for the longest is forgotten, with what it had used (`forgotten` counts those): who floods with ever
    new keys wins a burst for each, but nobody is refused for another's sake and memory stays bounded.
    """

    __slots__ = ("_buckets", "_burst", "_clock", "_interval", "by", "capacity", "forgotten", "rate", "refused")

    def __init__(
        self,
        max_messages: int,
        window: float,
        *,
        by: By = "connection",
        capacity: int = _CAPACITY,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        if by not in get_args(By):
            raise ConfigError("by", f"expected one of {', '.join(get_args(By))}, got {by!r}")
        if capacity < 1:
            raise ConfigError("capacity", f"expected at least 1 key, got {capacity!r}")
        self.rate = Rate(max_messages, window)
        self.by, self.capacity = by, capacity
        self.refused = self.forgotten = 0
        self._clock = clock
        self._interval = max(1, round(window * _NS / max_messages))  # whole nanoseconds, so that nothing adds up
        self._burst = self._interval * (max_messages - 1)
        self._buckets: OrderedDict[Hashable, int] = OrderedDict()  # when each will be full; the quietest first

    @classmethod
    def of(cls, rate: Rate | None) -> RateLimiter | None:
        """A limiter of this rate; None for none."""
        return None if rate is None else cls(rate.max_messages, rate.window)

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: Hashable = None) -> float:
        """Takes a token: 0 when there was one, else the seconds until there is; then nothing was taken."""
        now = int(self._clock() * _NS)
        buckets = self._buckets
        full_at = buckets.get(key)
        if full_at is None:
            buckets[key] = now + self._interval
            self._make_room(now)
            return 0.0
        buckets.move_to_end(key)
        if full_at < now:
            full_at = now
        if (missing := full_at - now - self._burst) > 0:
            self.refused += 1
            return missing / _NS
        buckets[key] = full_at + self._interval
        return 0.0

    def wait(self, key: Hashable = None) -> float:
        """The seconds until there is a token, 0 when there is one; takes none."""
        full_at = self._buckets.get(key)
        return 0.0 if full_at is None else max(0, full_at - int(self._clock() * _NS) - self._burst) / _NS

    def charge(self, key: Hashable = None) -> None:
        """Takes a token also where there is none; it then takes that much longer until there is one again."""
        now = int(self._clock() * _NS)
        self._buckets[key] = max(now, self._buckets.pop(key, now)) + self._interval
        self._make_room(now)

    def give_back(self, key: Hashable = None) -> None:
        """Returns the token that was last taken: the message was refused for another reason."""
        if key in self._buckets:
            self._buckets[key] -= self._interval

    def forget(self, key: Hashable) -> None:
        """The owner of the key is gone for good."""
        self._buckets.pop(key, None)

    def _make_room(self, now: int) -> None:
        """At most two go for each that comes: the table shrinks, and no call pays for many."""
        buckets = self._buckets
        for _ in range(2):
            oldest = next(iter(buckets))
            if buckets[oldest] > now:
                break
            del buckets[oldest]
        if len(buckets) > self.capacity:
            buckets.popitem(last=False)
            self.forgotten += 1
