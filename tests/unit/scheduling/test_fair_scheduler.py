"""Who asks gets a baton in the order of asking, and as many go round as fit in a turn of the loop."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from mycelia.scheduling.fair_scheduler import TURN, Batons


class Clock:
    """A time that stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def held_in_turns(count: int, rounds: int, cost: float) -> list[list[int]]:
    """Who held a baton in each turn of the loop in which anybody did; holding one takes `cost` seconds."""
    clock, turn = Clock(), 0
    batons, held = Batons(clock), list[tuple[int, int]]()

    async def worker(number: int) -> None:
        for _ in range(rounds):
            await batons.take()
            clock.now += cost
            held.append((turn, number))

    tasks = [asyncio.create_task(worker(number)) for number in range(count)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        turn += 1
    assert not len(batons)
    turns = sorted({at for at, _ in held})
    return [[number for at, number in held if at == each] for each in turns]


@pytest.mark.parametrize(("count", "rounds"), [(1, 3), (5, 1), (5, 4), (200, 3)])
@pytest.mark.parametrize("cost", [0.0, TURN / 10, TURN * 2])
async def test_everybody_gets_as_much_in_the_order_of_asking(count: int, rounds: int, cost: float) -> None:
    turns = await held_in_turns(count, rounds, cost)
    everybody = [number for turn in turns for number in turn]
    assert everybody == [*range(count)] * rounds


@pytest.mark.parametrize("cost", [TURN / 10, TURN * 2])
async def test_two_come_in_a_turn(cost: float) -> None:
    turns = await held_in_turns(20, 20, cost)
    assert {len(turn) for turn in turns} == {2}


@pytest.mark.parametrize(("cost", "between"), [(TURN / 10, 1), (TURN * 2, 2)])
async def test_a_long_turn_is_followed_by_one_for_the_others(cost: float, between: int) -> None:
    clock, turn, held = Clock(), 0, list[int]()
    batons = Batons(clock)

    async def worker() -> None:
        for _ in range(5):
            await batons.take(alone=True)
            clock.now += cost
            held.append(turn)

    task = asyncio.create_task(worker())
    other = asyncio.create_task(worker())
    while not (task.done() and other.done()):
        await asyncio.sleep(0)
        turn += 1
    assert {after - before for before, after in pairwise(held)} == {between}


async def test_who_asks_to_be_alone_is() -> None:
    batons, turn, held = Batons(Clock()), 0, list[tuple[int, bool]]()

    async def worker(alone: bool) -> None:
        for _ in range(5):
            await batons.take(alone=alone)
            held.append((turn, alone))

    tasks = [asyncio.create_task(worker(number % 3 == 0)) for number in range(30)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        turn += 1
    together = {at for at, _ in held if sum(other == at for other, _ in held) > 1}
    assert together
    assert not together & {at for at, alone in held if alone}


async def test_a_baton_is_never_given_in_the_turn_of_the_asking() -> None:
    batons = Batons()
    task = asyncio.create_task(batons.take())
    await asyncio.sleep(0)
    assert not task.done()
    await asyncio.wait_for(task, 1)


async def test_who_is_cancelled_does_not_stop_the_others() -> None:
    batons = Batons()
    first, second, third = (asyncio.create_task(batons.take()) for _ in range(3))
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    await asyncio.wait_for(third, 1)
    assert first.cancelled() and second.cancelled() and not len(batons)
    await asyncio.wait_for(batons.take(), 1)


async def test_who_calls_back_takes_turns_with_the_others_and_may_think_better_of_it() -> None:
    batons, held = Batons(), list[str]()

    async def worker() -> None:
        await batons.take()
        held.append("worker")

    batons.call(lambda: held.append("first"))
    take_back = batons.call(lambda: held.append("second"))
    task = asyncio.create_task(worker())
    await asyncio.sleep(0)
    batons.call(lambda: held.append("third"))
    take_back()
    await asyncio.wait_for(task, 1)
    await asyncio.wait_for(batons.take(alone=True), 1)
    assert held == ["first", "worker", "third"] and not len(batons)
