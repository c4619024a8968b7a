"""Taking a server out of service without losing anything that it accepted.

Every connection gets a moment within the window. Until then it is served as always; then what it still sends is
refused, what it has sent is answered, and it is closed with 1012. Those who speak a subprotocol of Mycelia are told
their moment beforehand, so that they come back one by one and not all at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mycelia.config.sections import between, check_fields, seconds
from mycelia.protocol.wire.codes import Close
from mycelia.realtime.connection.send_queue import Overflow
from mycelia.realtime.connection.state import Phase
from mycelia.realtime.outbound.system_events import notice

if TYPE_CHECKING:
    from mycelia.realtime.connection.connection import WebSocketConnection
    from mycelia.realtime.core import Runtime

__all__ = ["Drain", "DrainConfig"]

logger = logging.getLogger("mycelia.websocket")

_BATCH = 200  # connections that are told or closed before others get their turn
_STEPS = 40  # how many looks a window is divided into
_LAST_PART = 0.2  # of the time, and a second at most: for answers to what has to be cut short


@dataclass(frozen=True, slots=True)
class DrainConfig:
    """How a server is taken out of service (section `drain`)."""

    window: float = seconds(10.0)

    def __post_init__(self) -> None:
        check_fields("drain", self)
        between("drain.window", self.window, 0, 86400.0, " seconds")


class Drain:
    """One drain of one subsystem; `chance` gives numbers from 0 to 1."""

    def __init__(self, runtime: Runtime, window: float, chance: Callable[[], float] = random.random) -> None:
        self._runtime, self._window, self._chance = runtime, window, chance
        self._moments: dict[WebSocketConnection, float] = {}

    async def run(self, deadline: float) -> None:
        """Returns when everybody is gone, after `deadline` seconds at the latest.

        Shortly before that, what still waits is answered OVERLOADED and what still runs is cancelled and answered
        CANCELLED; who has not gone by the deadline is cut off. Cancelling it leaves the rest to `stop`.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline
        last = end - min(1.0, deadline * _LAST_PART)
        window = min(self._window, last - loop.time())
        step = min(0.25, max(0.01, window / _STEPS))
        logger.info("draining: %d connections, %.1f s at most", len(self._living()), deadline)
        begun = loop.time()
        while self._living() and loop.time() < last:
            await self._advise(begun, window)
            await self._close_idle(loop.time())
            await self._runtime.connections.wait_until_left(min(step, last - loop.time()))
        if self._living():
            await self._cut_short(end, step)
        for connection in self._living():
            if connection.transport is not None:
                connection.transport.abort()

    def _living(self) -> list[WebSocketConnection]:
        return self._runtime.connections.living()

    async def _advise(self, begun: float, window: float) -> None:
        """Gives a moment to everybody who has none, and tells it to those who understand."""
        fresh = [each for each in self._living() if each not in self._moments]
        for number, connection in enumerate(fresh, 1):
            wait = self._chance() * window
            self._moments[connection] = begun + wait
            if connection.is_open:
                _tell(connection, int(wait * 1000))
            if not number % _BATCH:
                await asyncio.sleep(0)

    async def _close_idle(self, now: float) -> None:
        """Closes those whose moment has come and who have been answered everything."""
        closed, responding = 0, self._runtime.task_names()
        for connection in self._living():
            if self._moments.get(connection, now) > now:
                continue
            if connection.is_open:
                self._runtime.shedding.begin(connection, final=True)
                if not _answered(connection) or f"mycelia-response-{connection.id}" in responding:
                    continue
            elif connection.phase is not Phase.PENDING:
                continue
            connection.close(Close.SERVICE_RESTART, "the server restarts")
            closed += 1
            if not closed % _BATCH:
                await asyncio.sleep(0)

    async def _cut_short(self, end: float, step: float) -> None:
        """The time is up: answers what was accepted, in the little that is left of it, and closes."""
        loop = asyncio.get_running_loop()
        cut = 0
        for connection in self._living():
            self._runtime.shedding.begin(connection, final=True)
            if connection.is_open:
                cut += _cut_short(self._runtime, connection)
        if cut:
            logger.warning("draining takes too long: %d requests are cut short", cut)
        while self._living() and loop.time() < end - step:
            for connection in self._living():
                self._moments[connection] = 0.0
            await self._close_idle(loop.time())
            await self._runtime.connections.wait_until_left(min(step, end - loop.time()))
        for connection in self._living():
            connection.close(Close.SERVICE_RESTART, "the server restarts")
        await self._runtime.connections.wait_until_left(end - loop.time())


def _tell(connection: WebSocketConnection, milliseconds: int) -> None:
    """The advice, for those who asked for frames of this kind by their subprotocol."""
    if packet := notice(connection, "websocket.reconnect", {"afterMs": milliseconds}):
        connection.push(packet, Overflow.DROP_NEWEST)


def _answered(connection: WebSocketConnection) -> bool:
    """Whether nothing that it sent waits, runs, or has an answer that the system has not taken yet."""
    worker, transport = connection.worker, connection.transport
    return (worker is None or worker.idle) and connection.plain and transport is not None and not transport.buffered


def _cut_short(runtime: Runtime, connection: WebSocketConnection) -> int:
    """Refuses what waits and cancels what runs, both with an answer; returns how many that are."""
    worker = connection.worker
    if worker is None or worker.idle:
        return 0
    cut = worker.unanswered
    while worker.backlog:
        work, payload = worker.backlog.popleft()
        worker.backlog_bytes -= len(payload)
        runtime.dispatch.intake.refuse(connection, work, payload)
    for task in worker.tasks:
        if task is not worker.task or worker.asleep is None:
            task.cancel()
    return cut
