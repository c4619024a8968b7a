from __future__ import annotations

from typing import Any

import pytest

from mycelia.protocol.wire.codes import Close
from mycelia.realtime.config.limits import LimitsConfig
from mycelia.realtime.liveness.idle_timeout import IdleTimeout
from mycelia.scheduling.timer_wheel import TICK


class Quiet:
    """A connection, as far as its age goes."""

    def __init__(self, active_at: float) -> None:
        self.active_at, self.paused = active_at, False


class Stage:
    """One connection, and clocks that a test sets."""

    def __init__(self, chance: float = 0.0, **limits: float) -> None:
        self.now, self.wall = 1000.0, 5_000_000.0
        self.connection = Quiet(self.wall)
        config = LimitsConfig(**limits)  # type: ignore[arg-type]
        times = config.idle_timeout, config.connection_lifetime
        self.idle_timeout = IdleTimeout(*times, lambda: self.now, lambda: self.wall, lambda: chance)
        self.first = self.idle_timeout.begin(self.connection)

    def look(self, seconds: float, *, late: bool = False) -> Any:
        self.now += seconds
        self.wall += seconds
        verdict = self.idle_timeout.check(self.connection, late)
        return verdict[0] if isinstance(verdict, tuple) else verdict


def test_silence_ends_a_connection_at_the_moment_and_not_before() -> None:
    stage = Stage(idle_timeout=30.0)
    assert stage.first == 30.0
    assert stage.look(10.0) == 20.0
    assert stage.look(19.0) == 1.0
    assert stage.look(0.9) == TICK
    assert stage.look(0.1) is Close.IDLE


def test_a_message_begins_the_silence_anew() -> None:
    stage = Stage(idle_timeout=30.0)
    stage.connection.active_at = stage.wall + 12.0
    assert stage.look(20.0) == 22.0
    assert stage.look(21.0) == 1.0
    stage.connection.active_at = stage.wall + 0.5
    assert stage.look(0.5) == 30.0


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_a_clock_that_is_set_makes_nobody_idle(jump: float) -> None:
    stage = Stage(idle_timeout=30.0)
    stage.wall += jump
    assert stage.look(10.0) == 20.0
    stage.connection.active_at = stage.wall
    stage.wall += jump
    assert stage.look(5.0) >= 25.0


def test_who_is_not_read_is_not_idle() -> None:
    stage = Stage(idle_timeout=30.0)
    stage.connection.paused = True
    assert stage.look(100.0) == 30.0
    stage.connection.paused = False
    assert stage.look(29.0) == 1.0
    assert stage.look(1.0) is Close.IDLE


def test_after_the_loop_was_blocked_nobody_is_judged() -> None:
    stage = Stage(idle_timeout=30.0)
    assert stage.look(100.0, late=True) == TICK
    stage.connection.active_at = stage.wall
    assert stage.look(TICK) == 30.0 - TICK


@pytest.mark.parametrize(("chance", "lives"), [(0.0, 100.0), (0.5, 95.0), (1.0, 90.0)])
def test_a_lifetime_is_shorter_by_chance(chance: float, lives: float) -> None:
    stage = Stage(chance, connection_lifetime=100.0)
    assert stage.first == lives
    stage.connection.active_at = stage.wall + lives - 1
    assert stage.look(lives - 1.0) == 1.0
    assert stage.look(1.0) is Close.LIFETIME_OVER


def test_what_comes_first_counts() -> None:
    stage = Stage(idle_timeout=30.0, connection_lifetime=40.0)
    assert stage.first == 30.0
    stage.connection.active_at = stage.wall + 20.0
    assert stage.look(20.0) == 20.0
    assert stage.look(20.0) is Close.LIFETIME_OVER
    stage.idle_timeout.end(stage.connection)
    stage.idle_timeout.end(stage.connection)
    assert len(stage.idle_timeout) == 0


def test_by_default_nobody_ages() -> None:
    assert not IdleTimeout(0.0, 0.0).is_on
