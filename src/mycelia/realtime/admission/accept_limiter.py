"""Limits at the TCP accept, before a byte is read: half-open connections, accept rates, file descriptors.

A connection is half-open from its accept until its handshake is finished. Half-open connections are limited in total
and per address, and so is the accept rate. One limiter serves all endpoints of a subsystem. A connection above a limit
is counted and reset without an answer: an answer would cost the server more than the attempt costs the peer.
"""

from __future__ import annotations

from collections.abc import Callable

from mycelia.net.address import Tally, address_key
from mycelia.observability.counters import Counter, EventCounters
from mycelia.scheduling.rate_limiter import Rate, RateLimiter

__all__ = ["AcceptLimiter", "affordable_half_open", "descriptor_limit"]

_UNLIMITED = 2**62  # also where the system has no such limit


class AcceptLimiter:
    """Counts half-open connections and refuses new ones above a limit.

    Args:
        most: The most half-open connections.
        most_per_address: The most half-open connections of one address.
        counters: Counts refused connections.
    """

    __slots__ = (
        "_all", "_by_address", "_counters", "_is_exempt", "_most", "_most_per_address", "_rate", "_rate_per_address",
    )  # fmt: skip

    def __init__(self, most: int, most_per_address: int, counters: EventCounters) -> None:
        self._most, self._most_per_address, self._counters = most, most_per_address, counters
        self._all = 0
        self._by_address = Tally()
        self._rate: RateLimiter | None = None
        self._rate_per_address: RateLimiter | None = None
        self._is_exempt: Callable[[str], bool] | None = None

    def limit_rates(self, rate: Rate | None, per_address: Rate | None) -> None:
        """Set how many connections may be accepted in how much time, in total and per address."""
        self._rate, self._rate_per_address = RateLimiter.of(rate), RateLimiter.of(per_address)

    def exempt(self, is_exempt: Callable[[str], bool]) -> None:
        """Exempt addresses from the limits per address: trusted proxies, which stand for many clients."""
        self._is_exempt = is_exempt

    def __len__(self) -> int:
        return self._all

    def acquire(self, host: str) -> bool:
        """Count a new connection from `host`. Return False if it exceeds a limit and must be reset.

        After True, the caller owes one `release`. A peer without an address, over a Unix socket, counts in total only.
        """
        key = address_key(host)
        is_shared = not host or (self._is_exempt is not None and self._is_exempt(host))
        exceeded = self._exceeded(key, is_shared)
        if exceeded is not None:
            self._counters.add(exceeded)
            return False
        self._all += 1
        self._by_address.add(key)
        return True

    def release(self, host: str) -> None:
        """Stop counting a connection, because its handshake is finished or has failed."""
        self._all -= 1
        self._by_address.remove(address_key(host))

    def record_bad_request(self, status: int) -> None:
        """Count a request head that was refused before admission saw it; status 408 means that it came too late."""
        self._counters.add(Counter.HANDSHAKE_TIME if status == 408 else Counter.HANDSHAKE)

    def _exceeded(self, key: str, is_shared: bool) -> Counter | None:
        if self._all >= self._most:
            return Counter.HALF_OPEN
        if not is_shared and self._by_address[key] >= self._most_per_address:
            return Counter.HALF_OPEN_PER_ADDRESS
        # The address first: an address above its rate must not use up the rate of all.
        per_address = None if is_shared else self._rate_per_address
        if per_address is not None and per_address.take(key):
            return Counter.ACCEPT_RATE_PER_ADDRESS
        if self._rate is not None and self._rate.take():
            return Counter.ACCEPT_RATE
        return None


def affordable_half_open(wanted: int, descriptors: int | None = None) -> int:
    """Return `wanted`, but at most a quarter of the file descriptors that the process may open.

    Args:
        wanted: The configured number of half-open connections.
        descriptors: The limit on file descriptors; negative for no limit, None for the limit of this process.
    """
    if descriptors is None:
        descriptors = _max_descriptors()
    return wanted if descriptors < 0 else max(1, min(wanted, descriptors // 4))


def descriptor_limit(spare: int) -> int:
    """Return the lowest descriptor number that is one of the last `spare`; 0 for no limit."""
    allowed = _max_descriptors()
    return 0 if not spare or allowed == _UNLIMITED else max(1, allowed - spare)


def _max_descriptors() -> int:
    """Return the soft limit on open files (RLIMIT_NOFILE)."""
    try:
        import resource
    except ImportError:
        return _UNLIMITED
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _UNLIMITED if limit == resource.RLIM_INFINITY else limit
