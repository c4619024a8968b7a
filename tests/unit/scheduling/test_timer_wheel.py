from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.scheduling.timer_wheel import TICK, TimerWheel
from tests.unit.realtime.support import TimeLoop, in_fake_time

ROUND = 256 * TICK
EPSILON = 1e-6


@dataclass(eq=False)
class Alarm:
    """Writes down when it rang; rings again after the delays that it is given."""

    loop: TimeLoop
    again: list[float] = field(default_factory=list)
    rang: list[float] = field(default_factory=list)
    wheel_slot: int = -1

    def due(self, now: float) -> float:
        assert now == self.loop.now
        self.rang.append(now)
        return self.again.pop(0) if self.again else 0.0


class Meddler(Alarm):
    """Does something to others when it rings."""

    def __init__(self, loop: TimeLoop, act: partial[None]) -> None:
        super().__init__(loop)
        self.act = act

    def due(self, now: float) -> float:
        self.act()
        return super().due(now)


delays = st.one_of(
    st.floats(0.001, 3.0),
    st.integers(1, 12).map(lambda ticks: ticks * TICK),
    st.floats(ROUND - 1, 3 * ROUND + 1),
    st.integers(255, 514).map(lambda ticks: ticks * TICK),
)
steps = st.tuples(st.integers(0, 7), st.one_of(st.none(), delays), st.floats(0, 1.0))


@given(program=st.lists(steps, max_size=25), blocks=st.lists(st.floats(0.1, 2.0), max_size=3))
def test_nothing_rings_early_nor_more_than_a_tick_late_and_the_removed_never(
    program: list[tuple[int, float | None, float]], blocks: list[float]
) -> None:
    """`None` takes an alarm off. A blocked loop makes everything late by as long as it was blocked."""

    async def run(loop: TimeLoop) -> None:
        wheel = TimerWheel()
        alarms = [Alarm(loop) for _ in range(8)]
        expected: dict[int, tuple[float, float]] = {}  # of each alarm: when it was put there, for when
        blocked = list(blocks)
        for number, delay, pause in program:
            alarm = alarms[number]
            if number in expected and alarm.rang:
                judge(alarm, expected.pop(number), sum(blocks))
            if delay is None:
                wheel.remove(alarm)
                expected.pop(number, None)
            else:
                wheel.put(alarm, delay)
                expected[number] = loop.now, loop.now + delay
            alarm.rang.clear()
            assert (alarm.wheel_slot >= 0) is (delay is not None)
            await loop.reach(loop.now + pause)
            if blocked:
                loop.now += blocked.pop()
        end = max((deadline for _, deadline in expected.values()), default=loop.now)
        await loop.reach(end + TICK + sum(blocks) + 1)
        for number, alarm in enumerate(alarms):
            if number in expected:
                judge(alarm, expected[number], sum(blocks))
            else:
                assert not alarm.rang
            assert alarm.wheel_slot == -1
        assert len(wheel) == 0

    def judge(alarm: Alarm, times: tuple[float, float], lateness: float) -> None:
        [rang] = alarm.rang
        assert times[1] - EPSILON <= rang <= times[1] + TICK + lateness + EPSILON

    in_fake_time(run)


@pytest.mark.parametrize("delay", [0.0, 0.001, TICK, 0.3, 1.0, 25.0, ROUND, ROUND + TICK, 2 * ROUND, 700.1])
@pytest.mark.parametrize("phase", [0.0, 0.1, 0.249])
def test_one_alarm_at_any_phase_of_the_tick(delay: float, phase: float) -> None:
    async def run(loop: TimeLoop) -> None:
        wheel = TimerWheel()
        wheel.put(Alarm(loop), 5000)  # keeps the wheel turning
        await loop.reach(loop.now + 10 * TICK + phase)
        alarm, deadline = Alarm(loop), loop.now + delay
        wheel.put(alarm, delay)
        await loop.reach(deadline + TICK + EPSILON)
        [rang] = alarm.rang
        assert deadline - EPSILON <= rang <= deadline + TICK + EPSILON

    in_fake_time(run)


def test_what_due_returns_is_when_it_rings_next() -> None:
    async def run(loop: TimeLoop) -> None:
        wheel, start = TimerWheel(), loop.now
        alarm = Alarm(loop, again=[2.0, ROUND, 0.25])
        wheel.put(alarm, 1.0)
        await loop.reach(start + 2 * ROUND)
        gaps = [late - early for early, late in zip([start, *alarm.rang], alarm.rang, strict=False)]
        for gap, asked in zip(gaps, [1.0, 2.0, ROUND, 0.25], strict=True):
            assert asked - EPSILON <= gap <= asked + TICK + EPSILON
        assert len(wheel) == 0

    in_fake_time(run)


def test_an_alarm_may_move_itself_while_it_rings() -> None:
    async def run(loop: TimeLoop) -> None:
        wheel, start = TimerWheel(), loop.now
        alarm = Meddler(loop, partial(lambda: wheel.put(alarm, 1.0) if not alarm.rang else None))
        wheel.put(alarm, 0.5)
        await loop.reach(start + 10)
        assert len(alarm.rang) == 2 and len(wheel) == 0

    in_fake_time(run)


@pytest.mark.parametrize("act", ["remove", "put"])
def test_an_alarm_may_take_off_or_move_others_of_its_own_slot(act: str) -> None:
    async def run(loop: TimeLoop) -> None:
        wheel, start = TimerWheel(), loop.now
        others = [Alarm(loop) for _ in range(20)]
        order = count()

        def meddle() -> None:
            if next(order):
                return
            for other in others:
                if not other.rang:
                    moved.append(other)
                    wheel.put(other, 1.0) if act == "put" else wheel.remove(other)

        moved: list[Alarm] = []
        crowd = [*others[:10], *(Meddler(loop, partial(meddle)) for _ in range(10)), *others[10:]]
        for alarm in crowd:
            wheel.put(alarm, 0.5)
        last = Alarm(loop)
        wheel.put(last, 3.0)
        await loop.reach(start + 5)
        for alarm in crowd:
            assert len(alarm.rang) == (0 if act == "remove" and alarm in moved else 1)
            if act == "put" and alarm in moved:
                assert alarm.rang[0] >= start + 1.5 - EPSILON
        assert len(last.rang) == 1 and len(wheel) == 0

    in_fake_time(run)


def test_late_is_set_for_the_turn_after_a_block_and_for_no_other() -> None:
    async def run(loop: TimeLoop) -> None:
        seen: list[bool] = []
        wheel = TimerWheel()
        alarm = Meddler(loop, partial(lambda: seen.append(wheel.late)))
        alarm.again = [TICK] * 5
        wheel.put(alarm, TICK)
        await loop.reach(loop.now + 2.5 * TICK)
        loop.now += 2.0
        await loop.reach(loop.now + 5 * TICK)
        assert seen.count(True) == 1 and len(seen) == 6

    in_fake_time(run)


def test_an_empty_wheel_has_no_timer_and_removing_twice_does_nothing() -> None:
    async def run(loop: TimeLoop) -> None:
        wheel, alarm = TimerWheel(), Alarm(loop)
        wheel.remove(alarm)
        wheel.put(alarm, 10.0)
        wheel.put(alarm, 20.0)
        assert len(wheel) == 1
        wheel.remove(alarm)
        wheel.remove(alarm)
        assert len(wheel) == 0
        before = loop.now
        await asyncio.sleep(0)
        await loop.reach(before + 100)  # the loop jumps there at once: nothing wakes it on the way
        assert loop.now == before + 100 and not alarm.rang

    in_fake_time(run)


def test_the_clock_can_be_given() -> None:
    async def run(loop: TimeLoop) -> None:
        wheel = TimerWheel(lambda: loop.now)
        alarm = Alarm(loop)
        wheel.put(alarm, 1.0)
        await loop.reach(loop.now + 1.0 + TICK + EPSILON)
        assert len(alarm.rang) == 1

    in_fake_time(run)
