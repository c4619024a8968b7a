from __future__ import annotations

import asyncio
import os
import signal

import pytest

from mycelia import BaseSubsystem, Facet, MessageSystem, hook
from mycelia.kernel.drain import serve_until_signal
from mycelia.kernel.signals import Signals


class Slow(Facet):
    def __init__(self, log: list[str], name: str, fault: Exception | None = None) -> None:
        self.log, self.name, self.fault = log, name, fault
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def drain(self, deadline: float) -> None:
        self.log.append(f"{self.name} {deadline}")
        self.begun.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.log.append(f"{self.name} cut short")
            raise
        if self.fault is not None:
            raise self.fault


def subsystem(system: MessageSystem, name: str, facet: Facet) -> BaseSubsystem:
    @hook(kind="slow")
    def use_slow(ctx: object, api: object, subsystem: object) -> Facet:
        return facet

    return BaseSubsystem(name, ms=system).use(use_slow)


async def test_all_drain_at_once_and_the_system_says_so_first() -> None:
    log: list[str] = []
    system = MessageSystem("main")
    one, two = Slow(log, "one", ValueError("one")), Slow(log, "two")
    subsystem(system, "one", one)
    subsystem(system, "two", two)
    async with system:
        assert (await system.health())["healthy"]
        task = asyncio.create_task(system.drain(7))
        await asyncio.sleep(0)
        assert not (await system.health())["healthy"]
        await asyncio.sleep(0)
        assert log == ["one 7", "two 7"]
        one.go_on.set()
        await asyncio.sleep(0)
        assert not task.done(), "what failed keeps nobody from draining"
        two.go_on.set()
        with pytest.raises(ExceptionGroup, match="draining system 'main'") as caught:
            await task
        assert [str(each) for each in caught.value.exceptions] == ["one"]
    async with system:
        assert (await system.health())["healthy"], "entered again it serves again"


@pytest.mark.every_loop
async def test_the_first_signal_drains_and_the_second_cuts_short() -> None:
    log: list[str] = []
    system = MessageSystem("main")
    slow = Slow(log, "slow")
    subsystem(system, "slow", slow)
    async with system:
        serving = asyncio.create_task(serve_until_signal(system, 5.0, lambda: os.kill(os.getpid(), signal.SIGTERM)))
        await slow.begun.wait()
        os.kill(os.getpid(), signal.SIGINT)
        await serving
    assert log == ["slow 5.0", "slow cut short"]


async def test_the_signals_are_given_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    signals = Signals()
    with signals.listening([signal.SIGUSR1]):
        os.kill(os.getpid(), signal.SIGUSR1)
        await signals.first.wait()
        assert not signals.second.is_set()
        os.kill(os.getpid(), signal.SIGUSR1)
        await signals.second.wait()
        assert signal.getsignal(signal.SIGUSR1) is before, "the third does what it would do without us"
    assert signal.getsignal(signal.SIGUSR1) is before


async def test_run_until_signal_builds_serves_and_disposes() -> None:
    system = MessageSystem("main")
    one = BaseSubsystem("one", ms=system)
    states: list[str] = []

    def started() -> None:
        states.append(one.state.value)
        os.kill(os.getpid(), signal.SIGTERM)

    await system.run_until_signal(1.0, started)
    assert [*states, one.state.value] == ["built", "disposed"]
