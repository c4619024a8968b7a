from __future__ import annotations

import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.observability.counters import Counter, EventCounters
from mycelia.realtime.admission.accept_limiter import AcceptLimiter, affordable_half_open
from mycelia.scheduling.rate_limiter import Rate


def test_in_all_and_per_address() -> None:
    counters = EventCounters()
    limiter = AcceptLimiter(3, 2, counters)
    assert [limiter.acquire(host) for host in ("a", "a", "a", "b", "c")] == [True, True, False, True, False]
    assert (counters[Counter.HALF_OPEN_PER_ADDRESS], counters[Counter.HALF_OPEN]) == (1, 1)
    limiter.release("a")
    assert limiter.acquire("a") and len(limiter) == 3


def test_one_site_of_ipv6_is_one_address() -> None:
    limiter = AcceptLimiter(10, 1, EventCounters())
    assert [limiter.acquire(host) for host in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")] == [True, False, True]


def test_rates_and_exempt_addresses() -> None:
    counters = EventCounters()
    limiter = AcceptLimiter(100, 100, counters)
    limiter.limit_rates(Rate(4, 3600.0), Rate(2, 3600.0))
    limiter.exempt(lambda host: host == "proxy")
    assert [limiter.acquire(host) for host in ("a", "a", "a", "proxy", "proxy", "proxy")] == [
        True,
        True,
        False,
        True,
        True,
        False,
    ]
    assert (counters[Counter.ACCEPT_RATE_PER_ADDRESS], counters[Counter.ACCEPT_RATE]) == (1, 1)
    limiter.limit_rates(None, None)
    assert limiter.acquire("a")


def test_a_proxy_may_have_as_many_half_open_as_there_may_be() -> None:
    limiter = AcceptLimiter(5, 1, EventCounters())
    limiter.exempt(lambda host: True)
    assert [limiter.acquire("proxy") for _ in range(6)] == [True] * 5 + [False]


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.booleans()), max_size=100))
def test_a_released_connection_leaves_nothing_behind(moves: list[tuple[str, bool]]) -> None:
    limiter = AcceptLimiter(4, 2, EventCounters())
    inside: list[str] = []
    for host, comes in moves:
        if comes:
            is_free = len(inside) < 4 and inside.count(host) < 2
            assert limiter.acquire(host) is is_free
            inside += [host] * is_free
        elif host in inside:
            inside.remove(host)
            limiter.release(host)
        assert len(limiter) == len(inside)


def test_peers_without_an_address_count_in_all_only() -> None:
    limiter = AcceptLimiter(3, 1, EventCounters())
    assert [limiter.acquire("") for _ in range(4)] == [True, True, True, False]
    limiter.release("")
    assert limiter.acquire("") and len(limiter) == 3


@pytest.mark.parametrize(
    ("wanted", "descriptors", "most"),
    [(512, 1024, 256), (512, 65_536, 512), (100, 1024, 100), (512, resource.RLIM_INFINITY, 512), (512, 3, 1)],
)
def test_half_open_connections_leave_descriptors_for_the_others(wanted: int, descriptors: int, most: int) -> None:
    assert affordable_half_open(wanted, descriptors) == most


def test_this_process_has_descriptors() -> None:
    assert 1 <= affordable_half_open(512) <= 512
