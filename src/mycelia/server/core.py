"""What the requests of one ServerSubsystem share: the table of routes, who is being answered, what is counted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from mycelia.errors import Overloaded, RateLimited
from mycelia.net.address import Tally
from mycelia.observability.error_log import ErrorLog
from mycelia.server.config import Config
from mycelia.server.content.probes import Probes
from mycelia.server.content.static import StaticFolders
from mycelia.server.requests.authentication import Authentication
from mycelia.server.requests.origin import Origins
from mycelia.server.requests.router import HttpRouter

if TYPE_CHECKING:
    from mycelia.kernel.system import MessageSystem
    from mycelia.server.subsystem import ServerSubsystem

__all__ = ["Runtime"]

logger = logging.getLogger("mycelia.server")

_AGAIN = 1.0  # seconds after which an address with too many requests may ask again
_QUIET = 60.0  # seconds between two warnings of such addresses


class Runtime:
    """The parts of a ServerSubsystem, wired together."""

    def __init__(self, config: Config, system: MessageSystem, subsystem: ServerSubsystem) -> None:
        self.config, self.system, self.subsystem = config, system, subsystem
        self.accepting = False  # new requests
        self.closing = False  # those that are left are being cancelled
        self.requests = 0  # ever
        self.refused = 0  # for want of room
        self.router = HttpRouter()
        self.static = StaticFolders(config.server.static)
        self.origins = Origins(config.server.allowed_origins)
        self.errors = ErrorLog(config.errors, "server")
        self.authentication = Authentication(config, self.origins, self.errors)
        self.probes = Probes(config.health, system, self.is_accepting)
        self._running: set[asyncio.Task[Any]] = set()
        self._by_address = Tally()
        self._warned = -_QUIET
        self._idle = asyncio.Event()
        self._idle.set()

    def is_accepting(self) -> bool:
        """Whether it takes new requests."""
        return self.accepting

    @property
    def running(self) -> int:
        """How many requests are being answered."""
        return len(self._running)

    @contextmanager
    def room(self, network: str) -> Iterator[None]:
        """Counts the current task among those that answer a request, of `network` where that is known.

        Raises Overloaded where there is no room, and RateLimited where one network has all that it may have.
        """
        most, each = self.config.limits.max_requests, self.config.limits.requests_per_address
        if not self.accepting or len(self._running) >= most:
            self.refused += 1
            raise Overloaded("requests in flight", most)
        if each and network and self._by_address[network] >= each:
            self.refused += 1
            self._warn(network, each)
            raise RateLimited("requests of one address in flight", _AGAIN)
        task = asyncio.current_task()
        assert task is not None
        self.requests += 1
        self._running.add(task)
        self._by_address.add(network)
        self._idle.clear()
        try:
            yield
        finally:
            self._running.discard(task)
            self._by_address.remove(network)
            if not self._running:
                self._idle.set()

    def _warn(self, network: str, most: int) -> None:
        """Behind a proxy that is not listed every client has one address; whoever runs it must be able to find out."""
        if monotonic() - self._warned >= _QUIET:
            self._warned = monotonic()
            hint = "if that is a proxy of yours, list it in limits.trusted_proxies"
            logger.warning("%s has %d requests in flight, the most that one address may have; %s", network, most, hint)

    async def finish(self, seconds: float) -> bool:
        """Waits until nobody is being answered; False when that takes longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def cancel(self, seconds: float) -> None:
        """Cancels whoever is still being answered, and waits for that."""
        own = asyncio.current_task()
        left = [task for task in self._running if task is not own]
        if not left:
            return
        logger.warning("%d requests do not end in time and are cancelled", len(left))
        self.closing = True
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=seconds)
        self.closing = False
