from __future__ import annotations

import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.observability.counters import Limit, Refusals
from mycelia.realtime.admission.accept_limiter import AcceptLimiter
from mycelia.realtime.admission.file_descriptors import affordable
from mycelia.scheduling.rate_limiter import Rate


def test_in_all_and_per_address() -> None:
    refusals = Refusals()
    door = AcceptLimiter(3, 2, refusals)
    assert [door.acquire(host) for host in ("a", "a", "a", "b", "c")] == [True, True, False, True, False]
    assert (refusals[Limit.HALF_OPEN_PER_ADDRESS], refusals[Limit.HALF_OPEN]) == (1, 1)
    door.release("a")
    assert door.acquire("a") and len(door) == 3


def test_one_site_of_ipv6_is_one_address() -> None:
    door = AcceptLimiter(10, 1)
    assert [door.acquire(host) for host in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")] == [True, False, True]


def test_rates_and_who_is_spared() -> None:
    refusals = Refusals()
    door = AcceptLimiter(100, 100, refusals)
    door.limit_rates(Rate(4, 3600.0), Rate(2, 3600.0))
    door.spare(lambda host: host == "proxy")
    assert [door.acquire(host) for host in ("a", "a", "a", "proxy", "proxy", "proxy")] == [
        True,
        True,
        False,
        True,
        True,
        False,
    ]
    assert (refusals[Limit.ACCEPT_RATE_PER_ADDRESS], refusals[Limit.ACCEPT_RATE]) == (1, 1)
    door.limit_rates(None, None)
    assert door.acquire("a")


def test_a_proxy_may_have_as_many_half_open_as_there_may_be() -> None:
    door = AcceptLimiter(5, 1)
    door.spare(lambda host: True)
    assert [door.acquire("proxy") for _ in range(6)] == [True] * 5 + [False]


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.booleans()), max_size=100))
def test_who_has_left_leaves_nothing_behind(moves: list[tuple[str, bool]]) -> None:
    door = AcceptLimiter(4, 2)
    inside: list[str] = []
    for host, comes in moves:
        if comes:
            room = len(inside) < 4 and inside.count(host) < 2
            assert door.acquire(host) is room
            inside += [host] * room
        elif host in inside:
            inside.remove(host)
            door.release(host)
        assert len(door) == len(inside)


def test_peers_without_an_address_count_in_all_only() -> None:
    door = AcceptLimiter(3, 1)
    assert [door.acquire("") for _ in range(4)] == [True, True, True, False]
    door.release("")
    assert door.acquire("") and len(door) == 3


@pytest.mark.parametrize(
    ("wanted", "descriptors", "most"),
    [(512, 1024, 256), (512, 65_536, 512), (100, 1024, 100), (512, resource.RLIM_INFINITY, 512), (512, 3, 1)],
)
def test_half_open_connections_leave_descriptors_for_the_others(wanted: int, descriptors: int, most: int) -> None:
    assert affordable(wanted, descriptors) == most


def test_this_process_has_descriptors() -> None:
    assert 1 <= affordable(512) <= 512
