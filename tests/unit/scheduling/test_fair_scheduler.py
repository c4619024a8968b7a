"""Callers get slots in the order of asking, and one iteration of the loop admits two."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.scheduling.fair_scheduler import LONG_ITERATION, FairScheduler, ReadScheduler


class Clock:
    """A time that stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def held_in_iterations(count: int, rounds: int, cost: float) -> list[list[int]]:
    """The holders of each iteration that had one; holding a slot takes `cost` seconds."""
    clock, turn = Clock(), 0
    scheduler, held = FairScheduler(clock), list[tuple[int, int]]()

    async def worker(number: int) -> None:
        for _ in range(rounds):
            await scheduler.acquire()
            clock.now += cost
            held.append((turn, number))

    tasks = [asyncio.create_task(worker(number)) for number in range(count)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        turn += 1
    assert not len(scheduler)
    turns = sorted({at for at, _ in held})
    return [[number for at, number in held if at == each] for each in turns]


@pytest.mark.parametrize(("count", "rounds"), [(1, 3), (5, 1), (5, 4), (200, 3)])
@pytest.mark.parametrize("cost", [0.0, LONG_ITERATION / 10, LONG_ITERATION * 2])
async def test_all_get_as_much_in_the_order_of_asking(count: int, rounds: int, cost: float) -> None:
    turns = await held_in_iterations(count, rounds, cost)
    everybody = [number for turn in turns for number in turn]
    assert everybody == [*range(count)] * rounds


@pytest.mark.parametrize("cost", [LONG_ITERATION / 10, LONG_ITERATION * 2])
async def test_one_iteration_admits_two(cost: float) -> None:
    turns = await held_in_iterations(20, 20, cost)
    assert {len(turn) for turn in turns} == {2}


@pytest.mark.parametrize(("cost", "between"), [(LONG_ITERATION / 10, 1), (LONG_ITERATION * 2, 2)])
async def test_a_long_iteration_is_followed_by_one_for_the_others(cost: float, between: int) -> None:
    clock, turn, held = Clock(), 0, list[int]()
    scheduler = FairScheduler(clock)

    async def worker() -> None:
        for _ in range(5):
            await scheduler.acquire(exclusive=True)
            clock.now += cost
            held.append(turn)

    task = asyncio.create_task(worker())
    other = asyncio.create_task(worker())
    while not (task.done() and other.done()):
        await asyncio.sleep(0)
        turn += 1
    assert {after - before for before, after in pairwise(held)} == {between}


async def test_an_exclusive_slot_shares_its_iteration_with_no_other() -> None:
    scheduler, turn, held = FairScheduler(Clock()), 0, list[tuple[int, bool]]()

    async def worker(exclusive: bool) -> None:
        for _ in range(5):
            await scheduler.acquire(exclusive=exclusive)
            held.append((turn, exclusive))

    tasks = [asyncio.create_task(worker(number % 3 == 0)) for number in range(30)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        turn += 1
    together = {at for at, _ in held if sum(other == at for other, _ in held) > 1}
    assert together
    assert not together & {at for at, exclusive in held if exclusive}


async def test_a_slot_is_never_granted_in_the_iteration_of_the_asking() -> None:
    scheduler = FairScheduler()
    task = asyncio.create_task(scheduler.acquire())
    await asyncio.sleep(0)
    assert not task.done()
    await asyncio.wait_for(task, 1)


async def test_a_cancelled_caller_does_not_stop_the_others() -> None:
    scheduler = FairScheduler()
    first, second, third = (asyncio.create_task(scheduler.acquire()) for _ in range(3))
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    await asyncio.wait_for(third, 1)
    assert first.cancelled() and second.cancelled() and not len(scheduler)
    await asyncio.wait_for(scheduler.acquire(), 1)


async def test_a_callback_waits_in_the_same_queue_and_can_be_cancelled() -> None:
    scheduler, held = FairScheduler(), list[str]()

    async def worker() -> None:
        await scheduler.acquire()
        held.append("worker")

    scheduler.call(lambda: held.append("first"))
    cancel = scheduler.call(lambda: held.append("second"))
    task = asyncio.create_task(worker())
    await asyncio.sleep(0)
    scheduler.call(lambda: held.append("third"))
    cancel()
    await asyncio.wait_for(task, 1)
    await asyncio.wait_for(scheduler.acquire(exclusive=True), 1)
    assert held == ["first", "worker", "third"] and not len(scheduler)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
async def test_reads_go_on_in_order_and_two_in_an_iteration(waves: list[int]) -> None:
    scheduler, gone, expected = ReadScheduler(), list[int](), list[int]()
    for wave in waves:
        for _ in range(wave):
            number = len(expected)
            expected.append(number)
            scheduler.put(lambda number=number: gone.append(number))  # type: ignore[misc]  # a default binds it
        before = len(gone)
        await asyncio.sleep(0)
        assert 0 < len(gone) - before <= 2
    for _ in range(len(scheduler)):
        before = len(gone)
        await asyncio.sleep(0)
        assert len(gone) - before <= 2
    assert gone == expected


async def test_a_reader_that_asks_again_at_once_waits_for_the_others() -> None:
    scheduler, gone = ReadScheduler(), list[str]()

    def again() -> None:
        gone.append("greedy")
        if len(gone) < 12:
            scheduler.put(again)

    scheduler.put(again)
    for name in "abcdef":
        scheduler.put(lambda name=name: gone.append(name))  # type: ignore[misc]  # a default binds it
    for _ in range(20):
        await asyncio.sleep(0)
    assert not len(scheduler)
    assert gone[:8] == ["greedy", *"abcdef", "greedy"]
