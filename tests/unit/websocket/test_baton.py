"""Who asks gets a turn of the loop for itself, in the order of asking."""

from __future__ import annotations

import asyncio

import pytest

from mycelia.websocket.baton import Baton


async def turns_of(count: int, rounds: int) -> list[tuple[int, int]]:
    """Who held the baton in which turn of the loop."""
    baton, turn, held = Baton(), 0, list[tuple[int, int]]()

    async def worker(number: int) -> None:
        for _ in range(rounds):
            await baton.take()
            held.append((number, turn))

    tasks = [asyncio.create_task(worker(number)) for number in range(count)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        turn += 1
    assert not len(baton)
    return held


@pytest.mark.parametrize(("count", "rounds"), [(1, 3), (5, 1), (5, 4)])
async def test_one_holder_in_each_turn_and_in_order(count: int, rounds: int) -> None:
    held = await turns_of(count, rounds)
    assert [number for number, _ in held] == [*range(count)] * rounds
    turns = [turn for _, turn in held]
    assert len(set(turns)) == len(turns)


async def test_the_baton_is_never_given_in_the_turn_of_the_asking() -> None:
    baton = Baton()
    task = asyncio.create_task(baton.take())
    await asyncio.sleep(0)
    assert not task.done()
    await asyncio.wait_for(task, 1)


async def test_who_is_cancelled_does_not_stop_the_others() -> None:
    baton = Baton()
    first, second, third = (asyncio.create_task(baton.take()) for _ in range(3))
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    await asyncio.wait_for(third, 1)
    assert first.cancelled() and second.cancelled() and not len(baton)
    await asyncio.wait_for(baton.take(), 1)
