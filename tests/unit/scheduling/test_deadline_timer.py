"""The timer of a session."""

from __future__ import annotations

import asyncio

from mycelia.scheduling.deadline_timer import DeadlineTimer


async def test_what_is_due_sooner_rings_sooner() -> None:
    now, rung = asyncio.get_running_loop().time(), asyncio.Event()
    alarm = DeadlineTimer()
    alarm.call_by(now + 1000.0, rung.set)
    alarm.call_by(now, rung.set)
    await asyncio.wait_for(rung.wait(), 5)


async def test_what_is_due_later_moves_nothing() -> None:
    now, rung = asyncio.get_running_loop().time(), asyncio.Event()
    alarm = DeadlineTimer()
    alarm.call_by(now, rung.set)
    alarm.call_by(now + 1000.0, lambda: None)
    await asyncio.wait_for(rung.wait(), 5)


async def test_it_rings_again_when_told_so_and_not_when_cancelled() -> None:
    now, last, rung = asyncio.get_running_loop().time(), asyncio.Event(), list[str]()
    alarm, silent = DeadlineTimer(), DeadlineTimer()

    def ring() -> None:
        rung.append("first")
        alarm.call_by(now, last.set)

    silent.call_by(now, lambda: rung.append("silent"))
    silent.cancel()
    alarm.call_by(now, ring)
    await asyncio.wait_for(last.wait(), 5)
    assert rung == ["first"]


async def test_who_waits_for_nothing_has_no_timer() -> None:
    alarm = DeadlineTimer()
    alarm.call_by(float("inf"), lambda: None)  # a loop could not say when that is
    alarm.cancel()
