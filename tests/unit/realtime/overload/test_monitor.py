from __future__ import annotations

import logging

import pytest

from mycelia.errors import ConfigError
from mycelia.realtime.admission.accept_limiter import descriptor_limit
from mycelia.realtime.config.sections import OverloadConfig
from mycelia.realtime.overload.memory_trim import MemoryTrim
from mycelia.realtime.overload.monitor import TICK, OverloadMonitor, resident_bytes
from tests.unit.realtime.support import TimeLoop, in_fake_time


class Gauges:
    def __init__(self, **config: float) -> None:
        self.requests = self.memory = self.starved = self.unused = self.trimmed = 0
        self.said: list[bool] = []
        settings = OverloadConfig(**{"stall_warning": 0, **config})  # type: ignore[arg-type]  # numbers of both kinds
        self.now = 1000.0
        trim = MemoryTrim((self.run_trim,), lambda: self.now)
        self.monitor = OverloadMonitor(settings, self.said.append, lambda: self.requests, lambda: self.memory, trim)

    def run_trim(self) -> None:
        self.memory -= self.unused
        self.trimmed += 1
        self.unused = 0

    def check(self, lag: float = 0.0) -> list[str]:
        self.monitor.check(lag)
        found: list[str] = self.monitor.snapshot()["shedding"]
        return found


def test_the_lag_counts_when_it_lasts_and_ends_below_half() -> None:
    gauges = Gauges(max_lag=1.0)
    lags = [0.0, 5.0, 0.9, 1.1, 1.2, 0.6, 0.6, 0.4, 0.9, 0.9]
    assert [bool(gauges.check(lag)) for lag in lags] == [False] * 4 + [True] * 3 + [False] * 3
    assert gauges.monitor.worst_lag == 5.0 and gauges.monitor.times == 1


@pytest.mark.parametrize(
    ("measure", "config", "reason"),
    [("requests", "max_requests", "requests"), ("memory", "memory_ceiling_bytes", "memory")],
)
def test_a_bound_is_crossed_by_one_and_left_below_nine_tenths(measure: str, config: str, reason: str) -> None:
    gauges = Gauges(**{config: 100})
    found = []
    for value in (99, 100, 101, 95, 91, 90, 101):
        setattr(gauges, measure, value)
        found.append(gauges.check())
    assert found == [[], [], [reason], [reason], [reason], [], [reason]]
    assert gauges.said == [True, True, True, False, True]
    gauges.monitor.stop()
    assert not gauges.monitor.is_overloaded and gauges.said[-1] is False


def test_memory_that_nobody_uses_any_more_keeps_nobody_out() -> None:
    gauges = Gauges(memory_ceiling_bytes=100)
    gauges.memory, gauges.unused = 101, 5
    assert gauges.check() == [] and gauges.said == [], "it was given back, and not refused"
    gauges.memory, gauges.unused = 101, 30
    assert gauges.check() == ["memory"] and gauges.trimmed == 1, "not again so soon: the loop stands still for it"
    gauges.memory -= 5  # the clients are gone, and the process holds on to what they needed
    gauges.now += 9.75
    assert gauges.check() == ["memory"]
    gauges.now += 0.25
    assert gauges.check() == [] and gauges.trimmed == 2 and gauges.said == [True, True, False]
    gauges.now += 3600.0
    gauges.memory = 100
    assert gauges.check() == [] and gauges.trimmed == 2, "all is well: nothing is done"
    gauges.memory = 101
    assert gauges.check() == ["memory"] and gauges.trimmed == 3
    gauges.memory, gauges.now = 95, gauges.now + 10.0
    assert gauges.check() == [], "it is not below nine tenths, but all that could be given back has been"


def test_what_is_off_is_not_measured() -> None:
    def never() -> int:
        raise AssertionError("measured")

    off = OverloadConfig(max_lag=0, max_requests=0, memory_ceiling_bytes=0, stall_warning=0)
    monitor = OverloadMonitor(off, lambda on: None, never, never)
    for _ in range(3):
        monitor.check(1000.0)
    assert not monitor.is_overloaded and monitor.snapshot()["lag"] == 1000.0


def test_it_looks_four_times_a_second_and_says_so_once_per_period(caplog: pytest.LogCaptureFixture) -> None:
    async def test(loop: TimeLoop) -> None:
        gauges = Gauges(max_requests=1)
        gauges.requests = 5
        gauges.monitor.start(lambda: gauges.starved)
        await loop.reach(loop.now + 4.5 * TICK)
        assert gauges.said == [True] * 4
        for look in range(200):  # 50 seconds of coming and going
            gauges.requests, gauges.starved = 5 * (look % 2), look
            await loop.reach(loop.now + TICK)
        gauges.monitor.stop()
        looks = len(gauges.said)
        await loop.reach(loop.now + 10)
        assert len(gauges.said) == looks, "stopped"

    caplog.set_level(logging.WARNING, "mycelia.websocket")
    in_fake_time(test)
    assert 2 <= sum("overloaded" in each.getMessage() for each in caplog.records) <= 7
    assert 2 <= sum("file descriptors" in each.getMessage() for each in caplog.records) <= 7


def test_what_the_system_says() -> None:
    assert resident_bytes() > 1024 * 1024
    few, fewer = descriptor_limit(1), descriptor_limit(11)
    assert descriptor_limit(0) == 0 and (few == 0 or few - fewer == 10)


@pytest.mark.parametrize("wrong", [{"max_lag": -1.0}, {"max_requests": -1}, {"stall_warning": 7200.0}])
def test_bounds_have_bounds(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="overload"):
        OverloadConfig(**wrong)  # type: ignore[arg-type]  # numbers of both kinds
