from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelia.errors import ConfigError
from mycelia.realtime.connection.connection import ConnectionState, SessionPorts, WebSocketConnection
from mycelia.realtime.connection.link import Link
from mycelia.realtime.connection.registry import ConnectionRegistry
from tests.unit.realtime.support import Stage, staged, turns


def make(stage: Stage, connection_id: str) -> Link:
    one = stage.admit()
    ports = SessionPorts(lambda connection: {}, lambda: "s-1", 1)
    return Link(WebSocketConnection(connection_id, one.session.client, ports), one.encoder, one._ports)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "publish", "unpublish", "leave", "forget"]), st.integers(0, 5)), max_size=40
    )
)
async def test_it_is_three_sets(program: list[tuple[str, int]]) -> None:
    """`known` can be found by id, `shown` is what applications see, `placed` is what the limit counts."""
    async with staged() as stage:
        registry = ConnectionRegistry(4)
        everyone = [make(stage, f"c{number}") for number in range(6)]
        known: set[int] = set()
        shown: set[int] = set()
        placed: set[int] = set()
        for act, number in program:
            one = everyone[number]
            if act == "add":
                if number in known:
                    with pytest.raises(ConfigError, match=f"expected a unique id, got 'c{number}'"):
                        registry.add(one)
                    continue
                registry.add(one)
                known.add(number)
                placed.add(number)
            elif number not in known:
                continue
            elif act == "publish":
                registry.publish(one)
                shown.add(number)
            else:
                {"unpublish": registry.unpublish, "leave": registry.leave, "forget": registry.forget}[act](one)
                shown.discard(number)
                if act != "unpublish":
                    placed.discard(number)
                if act == "forget":
                    known.discard(number)
            assert [registry.get(f"c{n}") is not None for n in range(6)] == [n in known for n in range(6)]
            assert set(registry.open_links()) == set(registry) == {everyone[n] for n in shown}
            assert (len(registry), registry.is_full) == (len(shown), len(placed) >= 4)


async def test_another_link_with_the_same_id_does_not_displace_the_owner() -> None:
    async with staged() as stage:
        registry, owner, stranger = ConnectionRegistry(2), make(stage, "a"), make(stage, "a")
        registry.add(owner)
        registry.forget(stranger)
        assert registry.get("a") is owner


async def test_the_event_is_set_when_the_last_transport_goes() -> None:
    async with staged() as stage:
        registry, one, two = ConnectionRegistry(2), make(stage, "a"), make(stage, "b")
        for each in (one, two):
            registry.add(each)
        registry.leave(one)
        assert not registry._left.is_set()
        registry.leave(two)
        assert registry._left.is_set() and registry.get("b") is two


async def test_closing_with_pending_requests_has_a_limit_of_its_own() -> None:
    async with staged() as stage:
        registry, one, two = ConnectionRegistry(2), make(stage, "a"), make(stage, "b")
        for each in (one, two):
            registry.add(each)
            registry.publish(each)
        assert registry.leave_with_requests(one, 1) and not registry.is_full and registry.open_links() == [two]
        assert not registry.leave_with_requests(two, 1), "one of this address is closing with requests"
        assert registry.leave_with_requests(two, 0), "two may be connected, so two may close with requests"
        third = make(stage, "c")
        registry.add(third)
        assert not registry.leave_with_requests(third, 0)
        assert registry._left.is_set() and set(registry.with_requests()) >= {one, two}
        waiting = asyncio.create_task(registry.wait_for_requests(60.0))
        await turns(2)
        assert not waiting.done()
        registry.finish_requests(one)
        registry.forget(two)
        await waiting
        assert registry.leave_with_requests(third, 1)


async def test_snapshots_are_not_changed_by_what_comes_later() -> None:
    async with staged() as stage:
        registry, one = ConnectionRegistry(2), make(stage, "a")
        registry.add(one)
        registry.publish(one)
        seen, living = registry.open_links(), registry.with_transport()
        one.state = ConnectionState.CLOSED
        registry.forget(one)
        assert seen == living == [one] and registry.open_links() == registry.with_transport() == []
