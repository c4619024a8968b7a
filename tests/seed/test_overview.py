"""The founding design, overview and class: requirements 1 to 19."""

from __future__ import annotations

from typing import Any

import pytest

from mycelia import BaseSubsystem, ConfigError, Message, MessageSystem, MyceliaError
from mycelia.websocket import WebSocketSubsystem
from tests.seed.stage import Stage, each_engine, serving


async def test_a_subsystem_of_its_own_serves_and_routes() -> None:
    async with serving() as stage:
        assert type(stage.system.find("websocket")) is WebSocketSubsystem
        async with stage.client() as client:
            assert await client.request("app://echo", 1) == 1


async def test_it_is_built_and_disposed_of_like_any_other_subsystem() -> None:
    system = MessageSystem("main")
    sockets = WebSocketSubsystem("websocket", ms=system)
    plain = BaseSubsystem("plain", ms=system)
    for subsystem in (plain, sockets):
        await subsystem.build()
    kinds = {"hierarchy", "router", "messages", "processor", "listeners", "statistics", "health"}
    assert all(plain.find(kind) is not None and sockets.find(kind) is not None for kind in kinds)
    assert sockets.find("websocket") is sockets.websocket and plain.find("websocket") is None
    await system.dispose()
    assert sockets.find("websocket") is None


@each_engine
async def test_both_sides_ask_and_answer(engine: str) -> None:
    def setup(stage: Stage) -> None:
        @stage.app.route("app://ask-me", expose=True)
        async def ask(message: Any, params: Any, options: Any) -> Any:
            return await options.connection.request("client://double", message.body)

    async with serving(setup, engine=engine) as stage, stage.client() as client:
        client.on("client://double", lambda body: body * 2)
        assert await client.request("app://ask-me", 21) == 42


@each_engine
async def test_connect_messages_and_disconnect_come_in_this_order(engine: str) -> None:
    def setup(stage: Stage) -> None:
        stage.record("connect", "disconnect")

        @stage.app.route("app://hello", expose=True)
        async def hello(message: Any, params: Any, options: Any) -> None:
            stage.note("message")

    async with serving(setup, engine=engine) as stage:
        async with stage.client() as client:
            await client.request("app://hello")
        await stage.sees("disconnect")
        assert [name for name, _ in stage.seen] == ["connect", "message", "disconnect"]


async def test_a_message_of_the_system_becomes_a_broadcast() -> None:
    async with serving() as stage, stage.client() as one, stage.client() as two:
        await stage.system.send(Message("websocket://broadcast", {"event": "news", "data": 1}))
        assert [await one.receive_event("news"), await two.receive_event("news")] == [{"event": "news", "data": 1}] * 2


@each_engine
async def test_the_whole_way_and_back(engine: str) -> None:
    """Connect, receive, make a message, route it, handle it, make an envelope, reply."""

    def setup(stage: Stage) -> None:
        @stage.app.route("app://add/{number}", expose=True)
        async def add(message: Any, params: Any, options: Any) -> dict[str, Any]:
            assert isinstance(message, Message)
            return {"success": True, "data": int(params["number"]) + message.body["to"]}

    async with serving(setup, engine=engine) as stage, stage.client() as client:
        answer = await client.send({"path": "app://add/2", "body": {"to": 3}, "correlationId": "c-9"})
        assert (answer["success"], answer["data"], answer["correlationId"]) == (True, 5, "c-9")


async def test_the_facet_is_server_connections_router_and_broadcaster() -> None:
    async with serving() as stage:
        facet = stage.facet
        for method in ("start", "stop", "is_running", "get_address", "get_port"):
            assert callable(getattr(facet, method))
        for method in ("get_connection", "get_all_connections", "get_connection_count", "close_connection"):
            assert callable(getattr(facet, method))
        assert callable(facet.register_message_handler) and callable(facet.broadcast)


def test_it_is_a_base_subsystem_called_websocket() -> None:
    assert isinstance(WebSocketSubsystem(), BaseSubsystem)
    assert WebSocketSubsystem().name == "websocket"


def test_another_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected 'websocket', got 'sockets'"):
        WebSocketSubsystem("sockets")


def test_its_hooks_are_the_canonical_ones_and_its_own() -> None:
    canonical = [each.kind for each in BaseSubsystem("plain").default_hooks()]
    assert [each.kind for each in WebSocketSubsystem().default_hooks()] == [*canonical, "websocket"]


@pytest.mark.parametrize(("kind", "engine"), [("ws", "websockets"), ("uws", "picows"), ("memory", "memory")])
async def test_the_configuration_chooses_the_library(kind: str, engine: str) -> None:
    async with serving(engine=kind) as stage:
        assert [each.name for each in stage.facet.engines] == [engine]


def test_an_unknown_library_raises_and_lists_the_known_ones() -> None:
    with pytest.raises(MyceliaError, match=r"telepathy.*known: asgi, memory, picows, .*uws, websockets, ws"):
        WebSocketSubsystem(config={"websocket": {"type": "telepathy"}})


async def test_the_operation_routes_are_registered() -> None:
    async with serving() as stage:
        own = {route.path for route in stage.sockets.routes}
        assert own >= {
            *(f"websocket://{name}" for name in ("message", "connect", "disconnect", "error", "broadcast")),
            "websocket://send/{connectionId}",
        }


@each_engine
async def test_a_connection_persists_and_has_a_state_of_its_own(engine: str) -> None:
    def setup(stage: Stage) -> None:
        @stage.app.route("app://count", expose=True)
        async def count(message: Any, params: Any, options: Any) -> int:
            metadata = options.connection.metadata
            metadata["count"] = metadata.get("count", 0) + 1
            return int(metadata["count"])

    async with serving(setup, engine=engine) as stage, stage.client() as one, stage.client() as two:
        assert [await one.request("app://count") for _ in range(3)] == [1, 2, 3]
        assert await two.request("app://count") == 1


async def test_one_some_or_all_are_reached() -> None:
    async with serving() as stage, stage.client() as one, stage.client() as two, stage.client() as three:
        clients = {}
        for client in (one, two, three):
            clients[await _id_of(stage, client)] = client
        first, second, third = clients
        await stage.facet.send(first, {"event": "e", "data": "one"})
        await stage.facet.broadcast({"event": "e", "data": "some"}, lambda c: c.id in (first, second))
        await stage.facet.broadcast({"event": "e", "data": "all"})
        got = {}
        for each, count in ((first, 3), (second, 2), (third, 1)):
            got[each] = [(await clients[each].receive_event("e"))["data"] for _ in range(count)]
        assert got == {first: ["one", "some", "all"], second: ["some", "all"], third: ["all"]}


async def _id_of(stage: Stage, client: Any) -> str:
    """Which connection a client is: the one whose echo changed its activity is told by the server itself."""
    if stage.app.match("app://me") is None:
        stage.app.register_route("app://me", lambda connection: connection.id, expose=True)
    return str(await client.request("app://me"))


@each_engine
async def test_connect_error_and_disconnect_are_told(engine: str) -> None:
    async with serving(lambda s: s.record("connect", "error", "disconnect"), engine=engine) as stage:
        async with stage.client() as client:
            await stage.sees("connect")
            client.abort()
            await stage.sees("disconnect")
        assert [name for name, _ in stage.seen] == ["connect", "error", "disconnect"]
