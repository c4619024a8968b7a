from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelia.errors import ConfigError
from mycelia.realtime.connection.connection import WebSocketConnection
from mycelia.realtime.connection.registry import Connections
from mycelia.realtime.connection.state import Phase
from tests.unit.realtime.support import Room, room, turns


def make(stage: Room, connection_id: str) -> WebSocketConnection:
    one = stage.admit()
    return WebSocketConnection(connection_id, stage.runtime, one.dialect, one.client)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["add", "show", "hide", "leave", "forget"]), st.integers(0, 5)), max_size=40))
async def test_it_is_three_sets(program: list[tuple[str, int]]) -> None:
    """`known` can be found by id, `shown` is what everybody sees, `placed` is what the limit counts."""
    async with room() as stage:
        manager = Connections(4)
        everyone = [make(stage, f"c{number}") for number in range(6)]
        known: set[int] = set()
        shown: set[int] = set()
        placed: set[int] = set()
        for act, number in program:
            one = everyone[number]
            if act == "add":
                if number in known:
                    with pytest.raises(ConfigError, match=f"gave 'c{number}' twice"):
                        manager.add(one)
                    continue
                manager.add(one)
                known.add(number)
                placed.add(number)
            elif number not in known:
                continue
            elif act == "show":
                manager.show(one)
                shown.add(number)
            else:
                {"hide": manager.hide, "leave": manager.leave, "forget": manager.forget}[act](one)
                shown.discard(number)
                if act != "hide":
                    placed.discard(number)
                if act == "forget":
                    known.discard(number)
            assert [manager.get(f"c{n}") is not None for n in range(6)] == [n in known for n in range(6)]
            assert set(manager.open()) == set(manager) == {everyone[n] for n in shown}
            assert (len(manager), manager.full) == (len(shown), len(placed) >= 4)


async def test_a_stranger_of_the_same_id_does_not_displace_the_owner() -> None:
    async with room() as stage:
        manager, owner, stranger = Connections(2), make(stage, "a"), make(stage, "a")
        manager.add(owner)
        manager.forget(stranger)
        assert manager.get("a") is owner


async def test_emptied_is_set_when_the_last_transport_goes() -> None:
    async with room() as stage:
        manager, one, two = Connections(2), make(stage, "a"), make(stage, "b")
        for each in (one, two):
            manager.add(each)
        manager.leave(one)
        assert not manager.emptied.is_set()
        manager.leave(two)
        assert manager.emptied.is_set() and manager.get("b") is two


async def test_what_is_parting_has_no_place_and_bounds_of_its_own() -> None:
    async with room() as stage:
        manager, one, two = Connections(2), make(stage, "a"), make(stage, "b")
        for each in (one, two):
            manager.add(each)
            manager.show(each)
        assert manager.part(one, 1) and not manager.full and manager.open() == [two]
        assert not manager.part(two, 1), "one of this address is parting"
        assert manager.part(two, 0), "two may be connected, so two may part"
        third = make(stage, "c")
        manager.add(third)
        assert not manager.part(third, 0)
        assert manager.emptied.is_set() and set(manager.working()) >= {one, two}
        waiting = asyncio.create_task(manager.wait_until_parted(60.0))
        await turns(2)
        assert not waiting.done()
        manager.parted(one)
        manager.forget(two)
        await waiting
        assert manager.part(third, 1)


async def test_snapshots_are_not_changed_by_what_comes_later() -> None:
    async with room() as stage:
        manager, one = Connections(2), make(stage, "a")
        manager.add(one)
        manager.show(one)
        seen, living = manager.open(), manager.living()
        one.phase = Phase.CLOSED
        manager.forget(one)
        assert seen == living == [one] and manager.open() == manager.living() == []
