"""Logins that failed, by address: whoever goes on guessing, over ever new connections, is not asked about any more."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from mycelia.errors import NoCredential, Untimely
from mycelia.scheduling.rate_limiter import Rate, RateLimiter

__all__ = ["FailedLogins", "is_guess"]

_LONGEST = 10  # windows that an address may have to wait


class FailedLogins:
    """Counts the credentials of an address that were refused, and says for how long it may show no others.

    Who shows several at once has all of them judged, since nobody is to wait for another behind the same address; but
    what was refused beyond the rate is counted as well, and is waited for: ten windows at the most. So guessing side by
    side is no faster than one after the other.
    """

    __slots__ = ("_limiter", "_longest")

    def __init__(self, rate: Rate | None, *, clock: Callable[[], float] = monotonic) -> None:
        self._limiter = None if rate is None else RateLimiter(rate.max_messages, rate.window, clock=clock)
        self._longest = 0.0 if rate is None else rate.window * _LONGEST

    def wait(self, address: str) -> float:
        """The seconds until a credential of this address is looked at again; 0 when it would be now.

        A peer without an address (a socket in the file system) is not counted.
        """
        return self._limiter.wait(address) if self._limiter is not None and address else 0.0

    def add(self, address: str) -> None:
        """A credential of this address was refused."""
        if self._limiter is not None and address and self._limiter.wait(address) < self._longest:
            self._limiter.charge(address)


def is_guess(fault: Exception) -> bool:
    """Whether what was refused by `fault` counts: not what was missing, nor what is genuine and not of this time."""
    return not isinstance(fault, (NoCredential, Untimely))
