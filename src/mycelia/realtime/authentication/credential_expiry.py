"""The expiry of credentials: their holders are warned before it and ended some time after it. One timer for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from contextvars import Context
from time import time
from typing import Generic, Protocol, TypeVar

__all__ = ["CredentialExpiry", "Timer"]

_LONGEST = 86400.0  # a longer timer checks again on its way, because clocks are corrected and timers have limits

Holder = TypeVar("Holder", bound=Hashable)


class Timer(Protocol):
    """The handle that a loop's `call_later` returns."""

    def cancel(self) -> None:
        """Cancel the timer."""


def _loop_later(delay: float, callback: Callable[[], None]) -> Timer:
    # An empty context: a copy of the caller's would keep the message that brought the credential alive for hours.
    return asyncio.get_running_loop().call_later(delay, callback, context=Context())


class _Watch:
    __slots__ = ("expires_at", "timer", "warned")

    def __init__(self, expires_at: float, warned: bool) -> None:
        self.expires_at, self.warned = expires_at, warned
        self.timer: Timer | None = None


class CredentialExpiry(Generic[Holder]):
    """Calls `warn(holder, seconds_left)` before a credential expires and `end(holder)` after it, each at most once.

    Neither is called after `forget`, or for a credential that was renewed in time.

    Args:
        times: How many seconds before the expiry to warn (0 for never), and how many seconds after it to end.
        warn: Called with the holder and the seconds that are left.
        end: Called with the holder.
        clock: Returns the seconds since the epoch, as credentials count them.
        later: Makes a timer from a delay in seconds and a callback.
    """

    def __init__(
        self,
        times: tuple[float, float],
        warn: Callable[[Holder, float], None],
        end: Callable[[Holder], None],
        *,
        clock: Callable[[], float] = time,
        later: Callable[[float, Callable[[], None]], Timer] = _loop_later,
    ) -> None:
        self._warning, self._grace = times
        self._warn, self._end = warn, end
        self.clock, self._later = clock, later
        self._watched: dict[Holder, _Watch] = {}

    def __len__(self) -> int:
        return len(self._watched)

    def watch(self, holder: Holder, expires_at: float | None) -> None:
        """Set when the holder's credential expires, in seconds since the epoch; None for never."""
        self.forget(holder)
        if expires_at is not None:
            watch = self._watched[holder] = _Watch(expires_at, warned=not self._warning)
            self._arm(holder, watch)

    def forget(self, holder: Holder) -> None:
        """Stop watching a holder. Does nothing if the holder is not watched."""
        watch = self._watched.pop(holder, None)
        if watch is not None and watch.timer is not None:
            watch.timer.cancel()

    def left(self, expires_at: float) -> float:
        """Return the seconds until a time; 0 if it has passed."""
        return max(0.0, expires_at - self.clock())

    def _arm(self, holder: Holder, watch: _Watch) -> None:
        due = watch.expires_at + self._grace if watch.warned else watch.expires_at - self._warning
        delay = min(max(0.0, due - self.clock()), _LONGEST)
        watch.timer = self._later(delay, lambda: self._due(holder, watch))

    def _due(self, holder: Holder, watch: _Watch) -> None:
        now = self.clock()
        if watch.warned and now >= watch.expires_at + self._grace:
            self.forget(holder)
            self._end(holder)
            return
        if not watch.warned and now >= watch.expires_at - self._warning:
            watch.warned = True
            self._warn(holder, self.left(watch.expires_at))
        if self._watched.get(holder) is watch:
            self._arm(holder, watch)
