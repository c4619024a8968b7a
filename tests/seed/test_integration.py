"""The founding design, integration with the message system and its libraries: requirements 92 to 98."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mycelia.kernel.messages.message import Message, valid_trace_id
from mycelia.testing import create_mock_websocket_client
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.engine_registry import engine_names, load_engine
from mycelia.websocket import WebSocketSubsystem
from tests.seed.stage import Stage, each_engine, serving


async def test_all_six_paths_answer() -> None:
    async with serving() as stage, stage.client() as client:
        send = stage.system.send
        for event in ("connect", "disconnect", "error"):
            assert await send(Message(f"websocket://{event}", {})) is None
        await send(Message("websocket://broadcast", {"event": "a"}))
        await send(Message(f"websocket://send/{stage.only().id}", {"event": "b"}))
        assert [(await client.receive())["event"] for _ in "ab"] == ["a", "b"]
        assert (await client.send({"path": "no://where"}))["error"]["code"] == "NOT_FOUND"


def traces(stage: Stage) -> None:
    @stage.app.route("app://trace", expose=True)
    async def trace(message: Any, params: Any, options: Any) -> list[Any]:
        inner = await stage.system.send(Message("app://inner"))
        return [message.metadata.trace_id, inner, message.metadata.connection_id]

    stage.app.register_route("app://inner", lambda message: message.metadata.trace_id)


@each_engine
async def test_the_metadata_of_a_message_names_its_connection(engine: str) -> None:
    async with serving(traces, engine=engine) as stage, stage.client() as client:
        assert (await client.request("app://trace"))[2] == stage.only().id


@each_engine
async def test_the_trace_id_of_the_frame_goes_all_the_way_and_comes_back(engine: str) -> None:
    async with serving(traces, engine=engine) as stage, stage.client() as client:
        answer = await client.send({"path": "app://trace", "metadata": {"traceId": "abc.1_2-3"}})
        assert answer["data"][:2] == ["abc.1_2-3"] * 2
        assert answer["metadata"]["traceId"] == "abc.1_2-3"


@pytest.mark.parametrize("given", [None, "", "with space", "x" * 129, 7, ["a"], "line\nbreak"])
async def test_without_a_valid_trace_id_a_new_one_is_made(given: Any) -> None:
    async with serving(traces) as stage, stage.client() as client:
        answers = [await client.send({"path": "app://trace", "metadata": {"traceId": given}}) for _ in "ab"]
        ids = [answer["metadata"]["traceId"] for answer in answers]
        assert ids[0] != ids[1] and all(valid_trace_id(each) and each != given for each in ids)
        assert [answer["data"][:2] for answer in answers] == [[each] * 2 for each in ids]


async def test_the_trace_id_may_come_from_the_headers_of_frame_or_handshake() -> None:
    async with serving(traces) as stage, stage.client(headers={"X-Trace-Id": "of-handshake"}) as client:
        headers = {"headers": {"x-trace-id": "of-frame"}}
        assert (await client.send({"path": "app://trace", "metadata": headers}))["data"][0] == "of-frame"
        assert (await client.send({"path": "app://trace"}))["data"][0] == "of-handshake"


@each_engine
async def test_requests_in_flight_find_their_responses_by_correlation_id(engine: str) -> None:
    def setup(stage: Stage) -> None:
        gates = [asyncio.Event() for _ in range(3)]

        @stage.app.route("app://late/{number}", expose=True, concurrent=True)
        async def late(number: int) -> int:
            if number < 2:
                await gates[number].wait()
            if number:
                gates[number - 1].set()
            return number

    async with serving(setup, engine=engine) as stage, stage.client() as client:
        asked = [{"path": f"app://late/{n}", "correlationId": f"c-{n}"} for n in range(3)]
        answers = await asyncio.gather(*(client.send(each) for each in asked))
        assert [(each["correlationId"], each["data"]) for each in answers] == [("c-0", 0), ("c-1", 1), ("c-2", 2)]


async def test_the_default_library_works_out_of_the_box() -> None:
    stage = Stage({"websocket": {"host": "127.0.0.1", "port": 0}})
    stage.app.register_route("app://echo", lambda message: message.body, expose=True)
    async with stage.system, stage.client() as client:
        assert await client.request("app://echo", "box") == "box"
        assert [each.name for each in stage.facet.engines] == ["picows"]


@pytest.mark.parametrize("name", ["picows", "websockets", "memory"])
async def test_every_engine_has_the_adapters_face(name: str) -> None:
    engine = load_engine(name)()
    engine.on("admit", lambda request: (_ for _ in ()).throw(AssertionError))
    await engine.start(EngineOptions())
    await engine.stop()
    await engine.start(EngineOptions())
    await engine.stop()


async def test_alternatives_stand_behind_one_interface_and_may_serve_side_by_side() -> None:
    assert {"picows", "uws", "websockets", "ws", "memory"} <= set(engine_names())
    kinds = ["picows", "websockets", "memory"]
    stage = Stage({"websocket": [{"type": kind, "host": "127.0.0.1", "port": 0} for kind in kinds]})
    stage.app.register_route("app://echo", lambda message: message.body, expose=True)
    assert isinstance(stage.sockets, WebSocketSubsystem)
    async with stage.system:
        addresses = [engine.address() for engine in stage.facet.engines]
        for kind, address in zip(kinds, addresses, strict=True):
            client = create_mock_websocket_client(stage.system if address is None else None)
            async with client:
                await client.connect(f"ws://127.0.0.1:{address[1] if address else 1}/ws")
                assert await client.request("app://echo", kind) == kind
