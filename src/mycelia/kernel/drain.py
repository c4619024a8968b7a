"""Taking a system out of service, and the signals by which an operator asks for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from mycelia.kernel.facet import Facet
from mycelia.kernel.signals import Signals

__all__ = ["Drainable", "HasFacets", "drain", "serve_until_signal"]

logger = logging.getLogger("mycelia.kernel")


class HasFacets(Protocol):
    """A subsystem, as far as a drain needs it."""

    @property
    def facets(self) -> Sequence[Facet]: ...


class Drainable(Protocol):
    """A system that can be drained."""

    async def drain(self, deadline: float = 30.0) -> None: ...


async def drain(name: str, subsystems: Iterable[HasFacets], deadline: float) -> None:
    """Drains every facet, all at the same time; raises what failed, as one ExceptionGroup, when all are done."""
    work = [facet.drain(deadline) for each in subsystems for facet in each.facets]
    results = await asyncio.gather(*work, return_exceptions=True)
    faults = [each for each in results if isinstance(each, Exception)]
    if faults:
        raise ExceptionGroup(f"draining system {name!r}", faults)


async def serve_until_signal(
    system: Drainable, deadline: float = 30.0, started: Callable[[], object] | None = None
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
