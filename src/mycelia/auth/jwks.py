"""The key set of an issuer, fetched from its URL.

Keys are cached. One fetch serves all callers, and fetches have a minimum interval.
"""

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

# How long callers wait for a fetch while the old keys are still usable, in seconds from its start. If the issuer
# responds this fast, a withdrawn key is rejected at once. An issuer that hangs delays no caller for longer.
_REFRESH_WAIT = 0.5
_MARGIN = 1.0  # seconds beyond the timeout, for a `fetch` function that ignores its timeout
Fetch = Callable[[str, float, int], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class JwksLimits:
    """The times and sizes of a key set, in seconds and bytes.

    Attributes:
        max_age: The age from which keys are fetched again.
        stale: How long keys older than `max_age` are still used while a fetch is running or fails. After that,
            authentication is not available until new keys have come.
        min_interval: The minimum time between two fetches, also for an unknown key id and after a failure.
        timeout: The deadline of one fetch.
        max_bytes: The maximum size of the document.

    Raises:
        ConfigError: A value is out of range.
    """

    max_age: float = 300.0
    stale: float = 3600.0
    min_interval: float = 10.0
    timeout: float = 5.0
    max_bytes: int = 256 * 1024

    def __post_init__(self) -> None:
        for name in ("max_age", "min_interval", "timeout", "max_bytes"):
            if not 0 < getattr(self, name) < inf:
                raise ConfigError(f"jwks.{name}", f"expected a number above 0, got {getattr(self, name)!r}")
        if not 0 <= self.stale < inf:
            raise ConfigError("jwks.stale", f"expected 0 or more seconds, got {self.stale!r}")


class Jwks:
    """The key set at a URL. It belongs to one event loop.

    Args:
        url: The URL: https, or http on this machine.
        limits: Times and sizes.
        fetch: `fetch(url, timeout, max_bytes)` returns the document. Replace it to use a proxy or another HTTP client.
        clock: Returns the time in seconds.

    Raises:
        ConfigError: The URL is invalid.
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
        self._fetched_at = self._tried_at = -inf
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> VerifyingKey:
        """Return the key with an id for an algorithm; without an id, the only key that fits.

        Args:
            kid: The key id from the token, or None.
            algorithm: The algorithm from the token.

        Raises:
            Unauthorized: No key fits.
            Unavailable: The keys cannot be read, or only old keys are known and none of them fits.
        """
        limits, now = self._limits, self._clock()
        age = now - self._fetched_at
        may_fetch = now - self._tried_at >= limits.min_interval
        is_usable = age < limits.max_age + limits.stale
        if age >= limits.max_age and (may_fetch or self._fetching is not None):
            await self._refresh(is_needed=not is_usable, wait=_REFRESH_WAIT if is_usable else None)
        elif not is_usable:
            raise Unavailable(f"the keys at {self.url} cannot be read, and it is too early to try again")
        found = self._pick(kid, algorithm)
        if found is None and self._may_fetch_unknown(now):
            await self._refresh(is_needed=False)
            found = self._pick(kid, algorithm)
        if found is None and self._clock() - self._fetched_at >= limits.max_age:
            raise Unavailable(f"the keys at {self.url} are old, and a newer one may fit the token")
        if found is None:
            raise Unauthorized("no key of the issuer fits the token")
        return found

    async def close(self) -> None:
        """Cancel a fetch that is running. Its callers get Unavailable. Later calls fetch again."""
        fetching = self._fetching
        if fetching is not None:
            self._fetching = None
            self._tried_at = -inf
            fetching.cancel()
            await asyncio.wait({fetching})

    def _pick(self, kid: str | None, algorithm: str) -> VerifyingKey | None:
        fitting = [each for each in self._keys if algorithm in each.algorithms and (kid is None or each.kid == kid)]
        return fitting[0] if len(fitting) == 1 else None

    def _may_fetch_unknown(self, since: float) -> bool:
        """Return True if an unknown key id may cause a fetch: none has ended since `since`, and none was recent."""
        return self._fetching is not None or (
            self._tried_at < since and self._clock() - self._tried_at >= self._limits.min_interval
        )

    async def _refresh(self, is_needed: bool, wait: float | None = None) -> None:
        """Wait for the one running fetch; start it if none is running.

        A cancelled caller does not cancel the fetch. Otherwise a client that connects and leaves again and again could
        keep all other clients from the keys.

        Args:
            is_needed: True if a failure must raise Unavailable. False if it leaves the keys as they are.
            wait: The maximum wait in seconds from the start of the fetch, which then continues. None waits for its end.
        """
        fetching = self._fetching
        if fetching is None:
            self._tried_at = self._clock()
            fetching = self._fetching = asyncio.create_task(self._load(), name="mycelia-jwks")
            fetching.add_done_callback(self._ended)
        if wait is not None:
            wait = max(0.0, wait - (self._clock() - self._tried_at))
        await asyncio.wait({fetching}, timeout=wait)
        if not fetching.done():
            return
        error = asyncio.CancelledError() if fetching.cancelled() else fetching.exception()
        if error is not None and is_needed:
            raise Unavailable(f"the keys at {self.url} cannot be read") from error

    def _ended(self, fetching: asyncio.Task[None]) -> None:
        if self._fetching is fetching:
            self._fetching = None
        if not fetching.cancelled() and (error := fetching.exception()) is not None:
            logger.warning("the keys at %s cannot be read: %s", self.url, error)

    async def _load(self) -> None:
        self.fetches += 1
        limits = self._limits
        try:
            async with asyncio.timeout(limits.timeout + _MARGIN):
                raw = await self._fetch(self.url, limits.timeout, limits.max_bytes)
        except TimeoutError as error:
            raise Unavailable(f"{self.url} did not answer within {limits.timeout:g} s") from error
        keys = read_key_set(raw)
        if not keys:
            raise Unavailable(f"{self.url} lists no key that can verify a signature")
        self._keys, self._fetched_at = keys, self._clock()
