"""The keys of an issuer, read from its URL: kept for a while, fetched by one caller for all, never too often."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from time import monotonic

from mycelia.auth.fetch import check_url, fetch
from mycelia.auth.keys import VerifyingKey, read_key_set
from mycelia.errors import ConfigError, Unauthorized, Unavailable

__all__ = ["Jwks", "JwksLimits"]

logger = logging.getLogger("mycelia.auth")

_MARGIN = 1.0
Fetch = Callable[[str, float, int], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class JwksLimits:
    """For how long keys are good, how often they may be asked for, and how much an answer may be (seconds, bytes).

    Keys older than `max_age` are fetched again; while that is under way, or fails, they are used for `stale` seconds
    more, and no longer: then nobody is judged until there are others. Of a fetch whoever comes in its first `patience`
    waits for the rest of that, so that keys that were withdrawn are noticed at once where the issuer answers, and one
    that hangs holds nobody up. An unknown key id causes a fetch, and so does a failed one cause another, at most every
    `min_interval`.
    """

    max_age: float = 300.0
    stale: float = 3600.0
    patience: float = 0.5
    min_interval: float = 10.0
    timeout: float = 5.0
    max_bytes: int = 256 * 1024

    def __post_init__(self) -> None:
        for name in ("max_age", "min_interval", "timeout", "max_bytes"):
            if not 0 < getattr(self, name) < inf:
                raise ConfigError(f"jwks.{name}", f"expected a number above 0, got {getattr(self, name)!r}")
        for name in ("stale", "patience"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigError(f"jwks.{name}", f"expected 0 or more seconds, got {getattr(self, name)!r}")


class Jwks:
    """The key set at a URL. Belongs to one event loop.

    `fetch(url, timeout, max_bytes)` may be given to go through a proxy or an HTTP client of the application's.
    """

    def __init__(
        self,
        url: str,
        limits: JwksLimits | None = None,
        *,
        fetch: Fetch = fetch,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        check_url("jwks.url", url)
        self.url = url
        self.fetches = 0
        self._limits = limits or JwksLimits()
        self._fetch, self._clock = fetch, clock
        self._keys: tuple[VerifyingKey, ...] = ()
        self._good_at = self._tried_at = -inf
        self._flight: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> VerifyingKey:
        """The key of that id for that algorithm; without an id the only one that fits.

        Raises Unauthorized when there is none, and Unavailable when the keys cannot be read, or only old ones are
        there and none of them fits.
        """
        limits, now = self._limits, self._clock()
        age, rested = now - self._good_at, now - self._tried_at >= limits.min_interval
        usable = age < limits.max_age + limits.stale
        if age >= limits.max_age and (rested or self._flight is not None):
            await self._refresh(needed=not usable, patience=limits.patience if usable else None)
        elif not usable:
            raise Unavailable(f"the keys at {self.url} cannot be read, and it is too early to try again")
        found = self._pick(kid, algorithm)
        if found is None and self._may_ask_again(now):
            await self._refresh(needed=False)
            found = self._pick(kid, algorithm)
        if found is None and self._clock() - self._good_at >= limits.max_age:
            raise Unavailable(f"the keys at {self.url} are old, and a newer one may fit the token")
        if found is None:
            raise Unauthorized("no key of the issuer fits the token")
        return found

    def _pick(self, kid: str | None, algorithm: str) -> VerifyingKey | None:
        fitting = [each for each in self._keys if algorithm in each.algorithms and (kid is None or each.kid == kid)]
        return fitting[0] if len(fitting) == 1 else None

    def _may_ask_again(self, since: float) -> bool:
        """Whether an unknown id is worth a fetch: none has ended since the caller came, and none was lately."""
        return self._flight is not None or (
            self._tried_at < since and self._clock() - self._tried_at >= self._limits.min_interval
        )

    async def _refresh(self, needed: bool, patience: float | None = None) -> None:
        """Waits for the one fetch that is under way; begins it when there is none.

        With `patience` it waits until so many seconds after the beginning of the fetch, which then goes on by itself.
        Without `needed` a failure leaves the keys as they are. A caller that loses interest does not end the fetch:
        else whoever connects and leaves again and again could keep everybody from the keys.
        """
        flight = self._flight
        if flight is None:
            self._tried_at = self._clock()
            flight = self._flight = asyncio.create_task(self._load(), name="mycelia-jwks")
            flight.add_done_callback(self._landed)
        if patience is not None:
            patience = max(0.0, patience - (self._clock() - self._tried_at))
        await asyncio.wait({flight}, timeout=patience)
        if not flight.done():
            return
        fault = asyncio.CancelledError() if flight.cancelled() else flight.exception()
        if fault is not None and needed:
            raise Unavailable(f"the keys at {self.url} cannot be read") from fault

    def _landed(self, flight: asyncio.Task[None]) -> None:
        if self._flight is flight:
            self._flight = None
        if not flight.cancelled() and (fault := flight.exception()) is not None:
            logger.warning("the keys at %s cannot be read: %s", self.url, fault)

    async def close(self) -> None:
        """Ends a fetch that is under way; whoever waits for it gets Unavailable. Later calls fetch again."""
        flight = self._flight
        if flight is not None:
            self._flight = None
            self._tried_at = -inf
            flight.cancel()
            await asyncio.wait({flight})

    async def _load(self) -> None:
        self.fetches += 1
        limits = self._limits
        try:
            async with asyncio.timeout(limits.timeout + _MARGIN):  # for a fetch that does not heed its own
                raw = await self._fetch(self.url, limits.timeout, limits.max_bytes)
        except TimeoutError as fault:
            raise Unavailable(f"{self.url} did not answer within {limits.timeout:g} s") from fault
        keys = read_key_set(raw)
        if not keys:
            raise Unavailable(f"{self.url} lists no key that can check a signature")
        self._keys, self._good_at = keys, self._clock()
