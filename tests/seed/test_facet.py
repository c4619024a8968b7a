"""The founding design, hook and facet: requirements 39 to 51."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from mycelia import BaseSubsystem, BuildError, ConnectionNotFound, Facet, Message, MessageSystem, NotRunning
from mycelia.errors import InvalidMessage
from mycelia.protocol.wire.codes import Close
from mycelia.realtime.config.config import Config
from mycelia.testing import create_mock_websocket_client
from mycelia.websocket import BroadcastResult, WebSocketConnection, WebSocketFacet, use_websockets
from tests.seed.stage import Stage, each_engine, serving


def test_the_hook_declares_what_the_founding_design_declares() -> None:
    assert use_websockets.kind == "websocket"
    assert use_websockets.overwrite is False and use_websockets.attach is True
    assert use_websockets.source == "mycelia.websocket.hook"


def test_the_hook_needs_router_and_messages() -> None:
    assert use_websockets.requires == ("router", "messages")


async def test_the_hook_without_what_it_needs_does_not_build() -> None:
    class Bare(BaseSubsystem):
        def default_hooks(self) -> Any:
            return [use_websockets]

    with pytest.raises(BuildError, match="requires 'router'"):
        await Bare("websocket", ms=MessageSystem("main")).build()


async def test_any_subsystem_may_use_the_hook_and_gets_the_facet() -> None:
    system = MessageSystem("main")
    plain = BaseSubsystem("live", ms=system, config={"websocket": {"type": "memory"}}).use(use_websockets)
    await plain.build()
    facet = plain.find("websocket")
    assert isinstance(facet, WebSocketFacet) and isinstance(facet, Facet)
    assert plain.websocket is facet and isinstance(facet.config, Config)
    await system.dispose()


@each_engine
async def test_start_listens_and_a_second_start_raises(engine: str) -> None:
    async with serving(engine=engine) as stage:
        assert stage.facet.is_running()
        with pytest.raises(NotRunning, match="already running"):
            await stage.facet.start()
        async with stage.client() as client:
            assert await client.request("app://echo", 1) == 1


@each_engine
async def test_start_after_stop_works(engine: str) -> None:
    async with serving(engine=engine) as stage:
        for _ in range(2):
            async with stage.client() as client:
                assert await client.request("app://echo", 1) == 1
            await stage.facet.stop()
            assert not stage.facet.is_running() and stage.facet.get_address() is None
            await stage.facet.start()


@each_engine
async def test_a_failed_bind_leaves_a_clean_state(engine: str) -> None:
    async with serving(engine=engine) as stage:
        await stage.facet.stop()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            other = Stage({"websocket": {"type": engine, "host": "127.0.0.1", "port": port}})
            await other.sockets.build()
            with pytest.raises(OSError):
                await other.facet.start()
            assert not other.facet.is_running()
        await other.facet.start()
        assert other.facet.get_port() == port
        await other.system.dispose()


@each_engine
async def test_stop_closes_every_client_with_1001_and_then_does_nothing(engine: str) -> None:
    async with serving(engine=engine) as stage, stage.client() as one, stage.client() as two:
        await stage.facet.stop()
        assert [await one.wait_closed(), await two.wait_closed()] == [Close.GOING_AWAY] * 2
        assert stage.facet.get_connection_count() == 0
        await stage.facet.stop()


async def test_dispose_stops_as_well() -> None:
    async with serving() as stage:
        url, facet = stage.url, stage.facet
        async with stage.client() as client:
            await stage.sockets.dispose()
            assert await client.wait_closed() == Close.GOING_AWAY
        assert not facet.is_running()
        with pytest.raises(ConnectionRefusedError):
            await create_mock_websocket_client().connect(url)


async def test_get_connection_finds_one_or_none() -> None:
    async with serving() as stage, stage.client():
        connection = stage.only()
        assert isinstance(connection, WebSocketConnection)
        assert stage.facet.get_connection(connection.id) is connection
        assert stage.facet.get_connection("nobody") is None


async def test_get_all_connections_is_a_snapshot_and_the_count_agrees() -> None:
    async with serving() as stage, stage.client():
        before = stage.facet.get_all_connections()
        assert stage.facet.get_connection_count() == 1
        async with stage.client():
            assert len(before) == 1
            assert len(stage.facet.get_all_connections()) == stage.facet.get_connection_count() == 2
        before.clear()
        assert stage.only() is not None


@each_engine
async def test_send_takes_a_mapping_or_a_message(engine: str) -> None:
    async with serving(engine=engine) as stage, stage.client() as client:
        identity = stage.only().id
        assert await stage.facet.send(identity, {"event": "hello", "data": [0, None, ""]}) is None
        assert await client.receive() == {"event": "hello", "data": [0, None, ""]}
        await stage.facet.send(identity, Message("client://do", {"a": 1}, {"traceId": "t-1"}))
        assert await client.receive() == {
            "path": "client://do",
            "body": {"a": 1},
            "metadata": {"traceId": "t-1"},
        }


async def test_send_to_nobody_raises() -> None:
    async with serving() as stage:
        with pytest.raises(ConnectionNotFound, match="nobody"):
            await stage.facet.send("nobody", {"event": "e"})
        with pytest.raises(ConnectionNotFound):
            stage.facet.close_connection("nobody")


@each_engine
async def test_broadcast_reaches_all_or_those_whom_the_filter_selects_and_says_how_many(engine: str) -> None:
    async with serving(engine=engine) as stage, stage.client() as one, stage.client() as two:
        first, _second = stage.facet.get_all_connections()
        first.metadata["userId"] = "user-123"
        assert await stage.facet.broadcast({"event": "all"}) == BroadcastResult(written=2)
        assert await stage.facet.broadcast(
            {"event": "some"}, lambda each: each.metadata.get("userId") == "user-123"
        ) == BroadcastResult(written=1)
        assert await stage.facet.broadcast({"event": "some"}, {"userId": "user-123"}) == BroadcastResult(1)
        await stage.facet.broadcast({"event": "end"})
        names = []
        for client in (one, two):
            await client.receive_event("end")
            names.append([each["event"] for each in client.events])
        assert sorted(names) == [["all"], ["all", "some", "some"]]


async def test_a_broadcast_is_encoded_once_whatever_the_number_of_clients() -> None:
    class Body(Mapping[str, Any]):
        """Counts how often it is read from its beginning."""

        def __init__(self, **values: Any) -> None:
            self.values_by_name, self.reads = values, 0

        def __getitem__(self, key: str) -> Any:
            return self.values_by_name[key]

        def __len__(self) -> int:
            return len(self.values_by_name)

        def __iter__(self) -> Iterator[str]:
            self.reads += 1
            return iter(self.values_by_name)

    async with serving() as stage, stage.client() as one, stage.client() as two, stage.client() as three:
        for_one, for_three = Body(event="e", data=1), Body(event="e", data=1)
        await stage.facet.send(stage.facet.get_all_connections()[0].id, for_one)
        await stage.facet.broadcast(for_three)
        assert for_one.reads == for_three.reads > 0
        assert [(await client.receive_event("e"))["data"] for client in (one, two, three)] == [1, 1, 1]


async def test_one_recipients_failure_is_its_own() -> None:
    async with serving() as stage, stage.client() as one, stage.client() as two:
        gone = stage.facet.get_all_connections()[1]
        gone.close(4410, "removed")
        assert (await stage.facet.broadcast({"event": "e", "data": 1})).written == 1
        assert (await one.receive_event("e"))["data"] == 1
        assert await two.wait_closed() == 4410 and two.events == []


async def test_what_cannot_be_encoded_is_sent_to_nobody() -> None:
    async with (
        serving() as stage,
        stage.client() as plain,
        stage.client(subprotocols=["mycelia.v1.msgpack"]) as packed,
    ):
        await packed.receive_event("websocket.connected")
        with pytest.raises(InvalidMessage):
            await stage.facet.broadcast({"event": "e", "data": object()})
        await stage.facet.broadcast({"event": "end"})
        assert [(await each.receive())["event"] for each in (plain, packed)] == ["end", "end"]


async def test_a_registered_message_handler_wins_over_routing() -> None:
    async with serving() as stage, stage.client() as client:
        assert await client.request("app://echo", "route") == "route"
        stage.facet.register_message_handler("app://echo", lambda message: f"handler: {message.body}")
        stage.facet.register_message_handler("elsewhere://{id}", lambda message, params: params["id"])
        assert await client.request("app://echo", "x") == "handler: x"
        assert await client.request("elsewhere://42") == "42"


@each_engine
async def test_registered_connection_handlers_and_their_aliases(engine: str) -> None:
    async with serving(engine=engine) as stage:

        def note(event: str) -> Any:
            return lambda message: stage.note(event)

        for event in ("connect", "disconnect", "error"):
            stage.facet.register_connection_handler(event, note(event))
        stage.facet.on_connect(note("on_connect"))
        stage.facet.on_disconnect(note("on_disconnect"))
        stage.facet.on_error(note("on_error"))
        async with stage.client() as client:
            await stage.sees("on_connect")
            client.abort()
            await stage.sees("on_disconnect")
        names = [name for name, _ in stage.seen]
        assert names == ["connect", "on_connect", "error", "on_error", "disconnect", "on_disconnect"]


async def test_the_facet_is_the_attribute_websocket() -> None:
    async with serving() as stage:
        assert stage.sockets.websocket is stage.sockets.find("websocket")
        assert isinstance(stage.sockets.websocket, WebSocketFacet)
