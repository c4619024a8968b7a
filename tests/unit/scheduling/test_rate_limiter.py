from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.errors import ConfigError
from mycelia.scheduling.rate_limiter import Rate, RateLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("most", "window"), [(1, 1.0), (3, 60.0), (7, 1.0), (100, 60.0), (1000, 1.0), (10_000, 3.0)])
def test_a_burst_of_that_many_and_not_one_more(most: int, window: float) -> None:
    clock = Clock()
    limiter = RateLimiter(most, window, clock=clock)
    assert [limiter.take("a") for _ in range(most)] == [0.0] * most
    wait = limiter.take("a")
    assert wait == pytest.approx(window / most, rel=1e-3) and limiter.refused == 1
    assert limiter.take("b") == 0.0, "another key has a bucket of its own"
    clock.now += wait * 0.9
    assert limiter.take("a") > 0
    clock.now += wait * 0.1 + 1e-6
    assert limiter.take("a") == 0.0, "it says when it may be tried again"
    assert limiter.take("a") > 0
    clock.now += window
    assert [limiter.take("a") for _ in range(most)] == [0.0] * most, "after a window it is full"
    assert limiter.take("a") > 0


@given(st.integers(1, 20), st.lists(st.floats(0, 3), max_size=200))
def test_never_more_than_a_burst_and_the_rate(most: int, pauses: list[float]) -> None:
    clock = Clock()
    limiter = RateLimiter(most, 10.0, clock=clock)
    passed: list[float] = []
    for pause in pauses:
        clock.now += pause
        if not limiter.take():
            passed.append(clock.now)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            assert last - first + 1 <= most + (passed[last] - passed[first]) * most / 10.0 + 1e-3


@given(st.integers(1, 10), st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 4)), max_size=100))
def test_it_agrees_with_a_bucket_that_counts_tokens(most: int, takes: list[tuple[str, float]]) -> None:
    clock = Clock()
    limiter = RateLimiter(most, 8.0, clock=clock)
    tokens = dict.fromkeys("abc", float(most))
    at = dict.fromkeys("abc", clock.now)
    for key, pause in takes:
        clock.now += pause
        tokens[key] = min(most, tokens[key] + (clock.now - at[key]) * most / 8.0)
        at[key] = clock.now
        if abs(tokens[key] - 1) < 1e-6:
            return  # too close for floats to tell
        passes = tokens[key] > 1
        assert (limiter.take(key) == 0.0) is passes
        tokens[key] -= passes


def test_a_token_can_be_given_back() -> None:
    limiter = RateLimiter(2, 60.0, clock=Clock())
    limiter.give_back("a")
    assert [limiter.take("a"), limiter.take("a")] == [0.0, 0.0]
    limiter.give_back("a")
    assert limiter.take("a") == 0.0 and limiter.take("a") > 0
    limiter.forget("a")
    limiter.forget("a")
    assert limiter.take("a") == 0.0


@given(st.integers(1, 10), st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 4)), max_size=50))
def test_waiting_says_what_taking_would_and_takes_nothing(most: int, takes: list[tuple[str, float]]) -> None:
    clock = Clock()
    limiter = RateLimiter(most, 8.0, clock=clock)
    for key, pause in takes:
        clock.now += pause
        expected = limiter.wait(key)
        assert limiter.wait(key) == expected and limiter.refused == 0
        if not expected:
            assert limiter.take(key) == 0.0


def test_a_charge_is_paid_for_also_where_there_is_no_token() -> None:
    clock = Clock()
    limiter = RateLimiter(2, 20.0, clock=clock)
    assert limiter.wait("a") == 0.0 and len(limiter) == 0
    waits = []
    for _ in range(5):
        limiter.charge("a")
        waits.append(limiter.wait("a"))
    assert waits == [0.0, 10.0, 20.0, 30.0, 40.0] and limiter.refused == 0
    clock.now += 39.9
    assert limiter.take("a") == pytest.approx(0.1)
    clock.now += 0.1
    assert limiter.wait("a") == 0.0 and limiter.take("a") == 0.0 and limiter.wait("a") == 10.0
    clock.now += 1000.0
    limiter.charge("a")
    assert limiter.wait("a") == 0.0, "what has long been paid is no credit"
    limiter.charge("a")
    assert limiter.wait("a") == 10.0


def test_charges_are_forgotten_like_all_others() -> None:
    limiter = RateLimiter(1, 60.0, capacity=2, clock=Clock())
    for key in ("a", "b", "a", "c"):
        limiter.charge(key)
    assert (len(limiter), limiter.forgotten, limiter.wait("b")) == (2, 1, 0.0)
    assert limiter.wait("a") > 0 and limiter.wait("c") > 0


def test_full_buckets_go_and_the_table_is_bounded() -> None:
    clock = Clock()
    limiter = RateLimiter(2, 60.0, capacity=10, clock=clock)
    for number in range(10):
        limiter.take(number)
    assert (len(limiter), limiter.forgotten) == (10, 0)
    clock.now += 31.0
    for number in range(5):
        limiter.take(("new", number))
    assert (len(limiter), limiter.forgotten) == (5, 0), "two that are full go for each that comes"
    for number in range(10):
        limiter.take(("more", number))
    assert (len(limiter), limiter.forgotten) == (10, 5), "then the quietest, and that is counted"
    assert limiter.take(("more", 9)) == 0.0 and limiter.take(("more", 9)) > 0


def test_who_is_refused_is_not_the_next_to_be_forgotten() -> None:
    limiter = RateLimiter(1, 60.0, capacity=2, clock=Clock())
    limiter.take("flood")
    limiter.take("a")
    assert limiter.take("flood") > 0
    limiter.take("b")
    assert limiter.take("flood") > 0


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Rate(0, 1.0), "max_messages"),
        (lambda: Rate(True, 1.0), "max_messages"),
        (lambda: Rate(1.5, 1.0), "max_messages"),  # type: ignore[arg-type]  # what is wrong with it
        (lambda: Rate(1, 0.0), "window"),
        (lambda: Rate(1, float("nan")), "window"),
        (lambda: Rate(1, float("inf")), "window"),
        (lambda: RateLimiter(0, 1.0), "max_messages"),
        (lambda: RateLimiter(1, 1.0, capacity=0), "capacity"),
        (lambda: RateLimiter(1, 1.0, by="planet"), "by"),  # type: ignore[arg-type]  # what is wrong with it
    ],
)
def test_what_is_no_rate(make: Callable[[], Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.key == key
