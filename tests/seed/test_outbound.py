"""The founding design, from a message to clients: requirements 71 to 75."""

from __future__ import annotations

from typing import Any

import pytest

from mycelia import BaseSubsystem, ConnectionNotFound, Message
from tests.seed.stage import each_engine, serving

UPDATE = {"event": "user-updated", "data": {"userId": "123", "name": "John"}}


@each_engine
async def test_a_message_to_broadcast_is_delivered_when_send_returns(engine: str) -> None:
    async with serving(engine=engine) as stage, stage.client() as one, stage.client() as two:
        told = await stage.system.send(Message("websocket://broadcast", UPDATE))
        assert told == {"written": 2, "queued": 0, "dropped": 0}
        assert [await one.receive(), await two.receive()] == [UPDATE, UPDATE]


async def test_building_registers_the_subsystem_with_its_system() -> None:
    async with serving() as stage, stage.client() as client:
        other = BaseSubsystem("other", ms=stage.system)
        await other.build()

        @other.route("other://tell-all")
        async def tell_all(message: Any, params: Any, options: Any) -> Any:
            return await stage.system.send(Message("websocket://broadcast", message.body))

        assert (await stage.system.send(Message("other://tell-all", UPDATE)))["written"] == 1
        assert await client.receive() == UPDATE


@each_engine
async def test_a_message_to_one_connection(engine: str) -> None:
    async with serving(engine=engine) as stage, stage.client() as client:
        target = stage.only().id
        async with stage.client() as other:
            told = await stage.system.send(Message(f"websocket://send/{target}", UPDATE))
            assert told == {"delivery": "written"}
            assert await client.receive() == UPDATE and other.events == []


async def test_a_message_to_an_unknown_connection_raises() -> None:
    async with serving() as stage:
        with pytest.raises(ConnectionNotFound, match="nobody"):
            await stage.system.send(Message("websocket://send/nobody", UPDATE))


async def test_the_filter_is_taken_out_and_the_rest_is_sent() -> None:
    async with serving() as stage, stage.client() as client:
        stage.only().metadata["userId"] = "user-123"
        body = {**UPDATE, "filter": {"userId": "user-123"}}
        await stage.system.send(Message("websocket://broadcast", body))
        assert await client.receive() == UPDATE
        assert "filter" in body


@pytest.mark.parametrize(
    ("filter", "reached"),
    [
        ({}, ["a", "b"]),
        (None, ["a", "b"]),
        ({"room": 1}, ["a"]),
        ({"room": True}, []),
        ({"room": 1, "userId": "b"}, []),
        ({"absent": None}, []),
        ({"userId": "b"}, ["b"]),
    ],
)
async def test_a_mapping_as_filter_means_equality_with_the_metadata(filter: Any, reached: list[str]) -> None:
    async with serving() as stage, stage.client() as a, stage.client() as b:
        first, second = stage.facet.get_all_connections()
        first.metadata.update(userId="a", room=1)
        second.metadata.update(userId="b", room=2)
        body = {"event": "e", "data": 0, "filter": filter}
        told = await stage.system.send(Message("websocket://broadcast", body))
        await stage.system.send(Message("websocket://broadcast", {"event": "end"}))
        for client in (a, b):
            await client.receive_event("end")
        assert [name for name, client in (("a", a), ("b", b)) if client.events] == reached
        assert told["written"] == len(reached)
