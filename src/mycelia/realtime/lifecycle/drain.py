"""Takes a server out of service without losing anything that it accepted.

Every connection gets a moment within the window. Until that moment it is served as before. Then the server refuses new
requests, answers accepted ones, and closes the connection with 1012. Clients that speak a subprotocol of Mycelia learn
their moment beforehand, so that they do not all reconnect at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from mycelia.protocol.wire.codes import Close
from mycelia.realtime.connection.connection import ConnectionState
from mycelia.realtime.connection.link import Link
from mycelia.realtime.connection.registry import ConnectionRegistry
from mycelia.realtime.connection.send_queue import Overflow
from mycelia.realtime.outbound.system_events import system_event

__all__ = ["Drain"]

logger = logging.getLogger("mycelia.websocket")

_BATCH = 200  # connections that are advised or closed before other work gets its turn
_STEPS = 40  # checks in one window
_LAST_PART = 0.2  # of the deadline, one second at most: for the answers to requests that are cut short


class Drain:
    """One drain of one subsystem.

    Args:
        registry: All links.
        is_sending: Returns True if a response of a link has not been written yet.
        window: The time over which the closes are spread, in seconds.
        chance: Returns a random number between 0 and 1.
    """

    def __init__(
        self,
        registry: ConnectionRegistry,
        is_sending: Callable[[Link], bool],
        window: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._registry, self._is_sending, self._window, self._chance = registry, is_sending, window, chance
        self._moments: dict[Link, float] = {}

    async def run(self, deadline: float) -> None:
        """Close every connection. Cancelling this leaves the rest to `stop`.

        Shortly before the deadline, waiting requests are answered OVERLOADED. Running ones are cancelled and answered
        CANCELLED. Connections that are left at the deadline are aborted.

        Args:
            deadline: The longest time that the drain may take, in seconds.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        end = begun + deadline
        last = end - min(1.0, deadline * _LAST_PART)
        window = min(self._window, last - begun)
        step = min(0.25, max(0.01, window / _STEPS))
        logger.info("draining: %d connections, %.1f s at most", len(self._left()), deadline)
        while self._left() and loop.time() < last:
            await self._advise(begun, window)
            await self._close_idle(loop.time())
            await self._registry.wait_for_transports(min(step, last - loop.time()))
        if self._left():
            await self._cut_short(end, step)
        for link in self._left():
            if link.transport is not None:
                link.transport.abort()

    def _left(self) -> list[Link]:
        return self._registry.with_transport()

    async def _advise(self, begun: float, window: float) -> None:
        """Give every new link its moment, and tell the client if it understands that."""
        fresh = [link for link in self._left() if link not in self._moments]
        for number, link in enumerate(fresh, 1):
            wait = self._chance() * window
            self._moments[link] = begun + wait
            if link.is_open and (packet := _advice(link, wait)):
                link.push(packet, Overflow.DROP_NEWEST)
            if not number % _BATCH:
                await asyncio.sleep(0)

    async def _close_idle(self, now: float) -> None:
        """Close the links whose moment has come and whose requests are answered."""
        closed = 0
        for link in self._left():
            if self._moments.get(link, now) > now:
                continue
            if link.is_open:
                link.refuse_requests()
                if not self._is_answered(link):
                    continue
            elif link.state is not ConnectionState.PENDING:
                continue
            link.close(Close.SERVICE_RESTART, "the server restarts")
            closed += 1
            if not closed % _BATCH:
                await asyncio.sleep(0)

    async def _cut_short(self, end: float, step: float) -> None:
        """Answer what was accepted in the little time that is left, and close everything."""
        loop = asyncio.get_running_loop()
        cut = 0
        for link in self._left():
            link.refuse_requests()
            if link.is_open and link.worker is not None:
                cut += link.worker.cut_short()
        if cut:
            logger.warning("draining takes too long: %d requests are cut short", cut)
        while self._left() and loop.time() < end - step:
            for link in self._left():
                self._moments[link] = 0.0
            await self._close_idle(loop.time())
            await self._registry.wait_for_transports(min(step, end - loop.time()))
        for link in self._left():
            link.close(Close.SERVICE_RESTART, "the server restarts")
        await self._registry.wait_for_transports(end - loop.time())

    def _is_answered(self, link: Link) -> bool:
        """Return True if no request of a link waits or runs, and the operating system has taken every answer."""
        worker, transport = link.worker, link.transport
        is_idle = worker is None or worker.is_idle
        has_written = link.can_write_directly and transport is not None and not transport.buffered
        return is_idle and has_written and not self._is_sending(link)


def _advice(link: Link, seconds: float) -> bytes:
    return system_event(link.session, "websocket.reconnect", {"afterMs": int(seconds * 1000)})
