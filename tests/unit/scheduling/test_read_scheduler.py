"""Who has filled a read goes on in turn, two in one turn of the loop."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from mycelia.scheduling.read_scheduler import Rests


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
async def test_everybody_goes_on_in_order_and_two_in_a_turn(waves: list[int]) -> None:
    rests, gone, expected = Rests(), list[int](), list[int]()
    for wave in waves:
        for _ in range(wave):
            number = len(expected)
            expected.append(number)
            rests.put(lambda number=number: gone.append(number))  # type: ignore[misc]  # a default binds it
        before = len(gone)
        await asyncio.sleep(0)
        assert 0 < len(gone) - before <= 2
    for _ in range(len(rests)):
        before = len(gone)
        await asyncio.sleep(0)
        assert len(gone) - before <= 2
    assert gone == expected


async def test_one_that_rests_again_at_once_waits_for_the_others() -> None:
    rests, gone = Rests(), list[str]()

    def again() -> None:
        gone.append("greedy")
        if len(gone) < 12:
            rests.put(again)

    rests.put(again)
    for name in "abcdef":
        rests.put(lambda name=name: gone.append(name))  # type: ignore[misc]  # a default binds it
    for _ in range(20):
        await asyncio.sleep(0)
    assert not len(rests)
    assert gone[:8] == ["greedy", *"abcdef", "greedy"]
