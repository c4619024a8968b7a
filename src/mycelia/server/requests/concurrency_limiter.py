"""The concurrency limiter: how many requests may run at a time, in total and per address."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from types import TracebackType
from typing import Any

from mycelia.errors import Overloaded, RateLimited
from mycelia.net.address import Tally

__all__ = ["ConcurrencyLimiter", "Slot"]

logger = logging.getLogger("mycelia.server")

_RETRY_AFTER = 1.0  # seconds until an address that reached its limit may try again
_WARNING_INTERVAL = 60.0  # seconds between two warnings about such addresses


class Slot:
    """The slot of one request. It is also a context manager that releases it."""

    __slots__ = ("_limiter", "_network", "_task")

    def __init__(self, limiter: ConcurrencyLimiter, task: asyncio.Task[Any], network: str) -> None:
        self._limiter, self._task, self._network = limiter, task, network

    def __enter__(self) -> Slot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give the slot back. The request has ended."""
        self._limiter.release(self._task, self._network)


class ConcurrencyLimiter:
    """Gives each request a slot, and ends the requests that hold one.

    Args:
        max_requests: The number of slots.
        max_per_address: The number of slots for one address; 0 for no such limit.

    Attributes:
        is_accepting: False if no further request gets a slot.
        total: The number of requests that ever got a slot.
        refused: The number of requests that got none because of a limit.
    """

    def __init__(self, max_requests: int, max_per_address: int) -> None:
        self.is_accepting = False
        self.total = 0
        self.refused = 0
        self._max_requests, self._max_per_address = max_requests, max_per_address
        self._running: set[asyncio.Task[Any]] = set()
        self._by_address = Tally()
        self._warned = -_WARNING_INTERVAL
        self._cancelling = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        """Return the number of requests that hold a slot."""
        return len(self._running)

    def slot(self, network: str) -> Slot:
        """Take a slot for the request that runs in the current task.

        Args:
            network: The network of the client; empty if it is unknown.

        Returns:
            The slot. The caller must release it.

        Raises:
            Overloaded: All slots are taken, or the server takes no requests.
            RateLimited: The network has reached its limit.
        """
        if not self.is_accepting or len(self._running) >= self._max_requests:
            self.refused += 1
            raise Overloaded("requests in flight", self._max_requests)
        if self._max_per_address and network and self._by_address[network] >= self._max_per_address:
            self.refused += 1
            self._warn(network)
            raise RateLimited("requests of one address in flight", _RETRY_AFTER)
        task = asyncio.current_task()
        assert task is not None
        self.total += 1
        self._running.add(task)
        self._by_address.add(network)
        self._idle.clear()
        return Slot(self, task, network)

    def release(self, task: asyncio.Task[Any], network: str) -> None:
        """Take back the slot of a task; `Slot.release` calls this."""
        self._running.discard(task)
        self._by_address.remove(network)
        if not self._running:
            self._idle.set()

    async def wait_until_idle(self, seconds: float) -> bool:
        """Wait until no request holds a slot. Return False if that takes longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def cancel_all(self, seconds: float) -> None:
        """Cancel all requests that hold a slot, except the caller's own, and wait up to `seconds` for their end."""
        own = asyncio.current_task()
        left = [task for task in self._running if task is not own]
        if not left:
            return
        logger.warning("%d requests did not end in time; the server cancels them", len(left))
        self._cancelling = True
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=seconds)
        self._cancelling = False

    def has_cancelled(self, task: asyncio.Task[Any]) -> bool:
        """Return True if `cancel_all` has cancelled the request of a task and still waits for it."""
        return self._cancelling and task in self._running

    def _warn(self, network: str) -> None:
        """Warn the operator: behind a proxy that is not listed as trusted, all clients share one address."""
        if monotonic() - self._warned >= _WARNING_INTERVAL:
            self._warned = monotonic()
            logger.warning(
                "%s has %d requests in flight, the limit for one address (limits.requests_per_address). "
                "If this is a proxy of yours, list it in limits.trusted_proxies.",
                network,
                self._max_per_address,
            )
