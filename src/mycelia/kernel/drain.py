"""Taking a system out of service, and the signals by which an operator asks for it."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mycelia.kernel.subsystem import BaseSubsystem
    from mycelia.kernel.system import MessageSystem

__all__ = ["Signals", "drain", "serve_until_signal"]

logger = logging.getLogger("mycelia.kernel")

SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def drain(name: str, subsystems: Iterable[BaseSubsystem], deadline: float) -> None:
    """Drains every facet, all at the same time; raises what failed, as one ExceptionGroup, when all are done."""
    work = [facet.drain(deadline) for each in subsystems for facet in each.facets]
    results = await asyncio.gather(*work, return_exceptions=True)
    faults = [each for each in results if isinstance(each, Exception)]
    if faults:
        raise ExceptionGroup(f"draining system {name!r}", faults)


class Signals:
    """How many of the signals have come: the first asks to end in order, the second to end now.

    From the third on they do what they do without us, so whatever hangs can still be ended.
    """

    def __init__(self) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()

    @contextmanager
    def listening(self, signals: Iterable[signal.Signals] = SIGNALS) -> Iterator[Signals]:
        """Takes the signals over, in the main thread's running loop."""
        loop, taken = asyncio.get_running_loop(), list(signals)
        try:
            for sign in taken:
                loop.add_signal_handler(sign, self._came, taken)
            yield self
        finally:
            self._give_back(taken)

    def _came(self, taken: list[signal.Signals]) -> None:
        if not self.first.is_set():
            self.first.set()
            return
        self.second.set()
        self._give_back(taken)

    def _give_back(self, taken: list[signal.Signals]) -> None:
        loop = asyncio.get_running_loop()
        while taken:
            loop.remove_signal_handler(taken.pop())


async def serve_until_signal(
    system: MessageSystem, deadline: float = 30.0, started: Callable[[], object] | None = None
) -> None:
    """For use inside `async with system`: calls `started`, waits for SIGTERM or SIGINT, then drains.

    A second signal cuts the drain short. Leaving the `async with` then closes what is still open.
    """
    with Signals().listening() as signals:
        if started is not None:
            started()
        await signals.first.wait()
        logger.info("told to stop: draining for %.0f s at most; a second signal stops at once", deadline)
        draining = asyncio.create_task(system.drain(deadline), name="mycelia-drain")
        forced = asyncio.create_task(signals.second.wait(), name="mycelia-signal")
        try:
            await asyncio.wait((draining, forced), return_when=asyncio.FIRST_COMPLETED)
        finally:
            forced.cancel()
            if not draining.done():
                logger.warning("told to stop again: not draining any longer")
                draining.cancel()
            await asyncio.wait((draining, forced))
        if not draining.cancelled():
            draining.result()
