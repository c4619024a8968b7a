"""The login throttle: it delays a network whose credentials were rejected too often.

A client that guesses credentials, over ever new connections, has to wait, even if a guess is right.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from mycelia.errors import NoCredential, Untimely
from mycelia.scheduling.rate_limiter import Rate, RateLimiter

__all__ = ["LoginThrottle", "is_guess"]

_MAX_WINDOWS = 10  # the longest wait of a network, in windows of the rate


class LoginThrottle:
    """Counts rejected credentials per network, and tells how long a network has to wait for its next attempt.

    The server checks all concurrent attempts of one network, so that users behind one NAT do not block each other.
    Rejections beyond the rate still count and extend the wait, up to ten windows. Concurrent guesses are therefore no
    faster than sequential ones.

    Args:
        rate: The number of rejected credentials per window. None switches the throttle off.
        clock: Returns the time in seconds.
    """

    __slots__ = ("_limiter", "_max_wait")

    def __init__(self, rate: Rate | None, *, clock: Callable[[], float] = monotonic) -> None:
        self._limiter = None if rate is None else RateLimiter(rate.max_messages, rate.window, clock=clock)
        self._max_wait = 0.0 if rate is None else rate.window * _MAX_WINDOWS

    def retry_after(self, network: str) -> float:
        """Return the seconds until the server checks a credential of this network again; 0 if it does so now.

        A peer without an address, which uses a socket in the file system, never has to wait.
        """
        return self._limiter.wait(network) if self._limiter is not None and network else 0.0

    def record_failure(self, network: str) -> None:
        """Count a rejected credential of this network."""
        if self._limiter is not None and network and self._limiter.wait(network) < self._max_wait:
            self._limiter.charge(network)


def is_guess(error: Exception) -> bool:
    """Return True if a rejection counts as a guess: the credential was present, and not just expired or too early."""
    return not isinstance(error, (NoCredential, Untimely))
