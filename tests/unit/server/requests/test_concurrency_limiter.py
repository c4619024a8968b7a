from __future__ import annotations

import asyncio

import pytest

from mycelia import Overloaded, RateLimited
from mycelia.server.requests.concurrency_limiter import ConcurrencyLimiter


def limiter(most: int, per_address: int = 0) -> ConcurrencyLimiter:
    made = ConcurrencyLimiter(most, per_address)
    made.is_accepting = True
    return made


async def hold(limits: ConcurrencyLimiter, network: str, began: asyncio.Event) -> None:
    with limits.slot(network):
        began.set()
        await asyncio.Event().wait()


async def test_slots_are_limited_in_total_and_per_address() -> None:
    limits = limiter(3, 2)
    events = [asyncio.Event() for _ in range(3)]
    tasks = [asyncio.create_task(hold(limits, each, event)) for each, event in zip("aab", events, strict=True)]
    for event in events:
        await asyncio.wait_for(event.wait(), 5)
    assert (limits.running, limits.total) == (3, 3)
    with pytest.raises(Overloaded), limits.slot("b"):
        pass
    tasks.pop().cancel()
    await asyncio.sleep(0)
    with pytest.raises(RateLimited), limits.slot("a"):
        pass
    with limits.slot("b"), pytest.raises(Overloaded), limits.slot("c"):
        pass
    assert (limits.running, limits.refused) == (2, 3)
    await limits.cancel_all(5.0)
    assert limits.running == 0 and all(task.cancelled() for task in tasks)


async def test_a_limiter_that_does_not_accept_gives_no_slot() -> None:
    limits = ConcurrencyLimiter(1, 0)
    with pytest.raises(Overloaded), limits.slot(""):
        pass
    assert (limits.total, limits.refused) == (0, 1)


async def test_waiting_until_idle_and_cancelling() -> None:
    limits, began = limiter(1), asyncio.Event()
    assert await limits.wait_until_idle(0.01)
    task = asyncio.create_task(hold(limits, "", began))
    await asyncio.wait_for(began.wait(), 5)
    assert not await limits.wait_until_idle(0.01)
    assert not limits.has_cancelled(task)
    await limits.cancel_all(5.0)
    assert task.cancelled() and await limits.wait_until_idle(0.01)
