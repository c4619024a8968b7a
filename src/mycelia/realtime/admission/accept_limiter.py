"""Who may come in by TCP at all, decided at the accept, before a byte was read.

Half-open connections (accepted, handshake not finished) are capped in all and per address, and so is how many are
accepted in how much time. One door serves all endpoints of a subsystem. A connection that is turned away is reset
without an answer: writing one would cost more than it cost the peer to knock. It is counted.
"""

from __future__ import annotations

from collections.abc import Callable

from mycelia.net.address import Tally, address_key
from mycelia.observability.counters import Limit, Refusals
from mycelia.scheduling.rate_limiter import Rate, RateLimiter

__all__ = ["AcceptLimiter"]


class AcceptLimiter:
    """Counts half-open connections by `enter` and `leave`; `enter` says whether there is room."""

    __slots__ = (
        "_all",
        "_by_address",
        "_most",
        "_most_per_address",
        "_rate",
        "_rate_per_address",
        "_refusals",
        "_spared",
    )

    def __init__(self, most: int, most_per_address: int, refusals: Refusals | None = None) -> None:
        self._most, self._most_per_address = most, most_per_address
        self._refusals = Refusals() if refusals is None else refusals
        self._all = 0
        self._by_address = Tally()
        self._rate: RateLimiter | None = None
        self._rate_per_address: RateLimiter | None = None
        self._spared: Callable[[str], bool] | None = None

    def limit_rates(self, rate: Rate | None, per_address: Rate | None) -> None:
        """Sets how many may be accepted in how much time."""
        self._rate, self._rate_per_address = RateLimiter.of(rate), RateLimiter.of(per_address)

    def spare(self, trusted: Callable[[str], bool]) -> None:
        """Counts addresses that are `trusted`, which are proxies for many, in all only."""
        self._spared = trusted

    def __len__(self) -> int:
        return self._all

    def acquire(self, host: str) -> bool:
        """Whether a connection from `host` may stay; then `leave` is owed.

        A peer without an address, over a socket in the file system, counts in all only.
        """
        key = address_key(host)
        many = not host or (self._spared is not None and self._spared(host))
        limit = self._crossed(key, many)
        if limit is not None:
            self._refusals.add(limit)
            return False
        self._all += 1
        self._by_address.add(key)
        return True

    def release(self, host: str) -> None:
        """Its handshake is over, one way or the other."""
        self._all -= 1
        self._by_address.remove(address_key(host))

    def record_bad_request(self, status: int) -> None:
        """Its head was refused before the gate saw it; 408 for one that was not whole in time."""
        self._refusals.add(Limit.HANDSHAKE_TIME if status == 408 else Limit.HANDSHAKE)

    def _crossed(self, key: str, many: bool) -> Limit | None:
        if self._all >= self._most:
            return Limit.HALF_OPEN
        if not many and self._by_address[key] >= self._most_per_address:
            return Limit.HALF_OPEN_PER_ADDRESS
        # The address first: who knocks too often must not use up what is there for all.
        per_address = None if many else self._rate_per_address
        if per_address is not None and per_address.take(key):
            return Limit.ACCEPT_RATE_PER_ADDRESS
        if self._rate is not None and self._rate.take():
            return Limit.ACCEPT_RATE
        return None
