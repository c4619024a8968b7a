"""The founding design, errors and overload: requirements 105 to 107."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mycelia.protocol.wire.codes import Close
from mycelia.protocol.ws.frames import Opcode
from tests.integration.harness import Client, until
from tests.seed.stage import Stage, each_engine, serving

LIFE = ("error", "disconnect")


@each_engine
async def test_network_protocol_and_timeout_errors_of_a_connection(engine: str) -> None:
    limits = {"pingInterval": 250, "pingTimeout": 250, "closeTimeout": 100}
    async with serving(lambda s: s.record(*LIFE), engine=engine, connection=limits) as stage:
        port = stage.facet.get_port() or 0
        async with Client.socket(port) as network:
            await network.upgrade()
            network.reset()
            await stage.sees("disconnect", 1)
        async with Client.socket(port) as protocol:
            await protocol.upgrade()
            await protocol.send_frame(Opcode.TEXT, b"\xff")
            assert (await protocol.closed())[0] == Close.INVALID_DATA
            await stage.sees("disconnect", 2)
        async with Client.socket(port) as silent:
            silent.pongs = False
            await silent.upgrade()
            assert (await silent.closed())[0] == Close.HEARTBEAT_LOST
            await stage.sees("disconnect", 3)
        told = [body["closeCode"] for body in await stage.sees("error", 3)]
        assert told == [Close.ABNORMAL, Close.INVALID_DATA, Close.HEARTBEAT_LOST]
        assert [name for name, _ in stage.seen] == [*LIFE] * 3


@each_engine
@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ('{"path": ', "INVALID_JSON"),
        ("[1]", "INVALID_MESSAGE"),
        ('{"path": 1}', "INVALID_MESSAGE"),
        ('{"path": "app://of/{id}"}', "INVALID_PATH"),
        ('{"path": "app://nothing"}', "NOT_FOUND"),
        ('{"path": "app://fails"}', "HANDLER_ERROR"),
        ('{"path": "app://slow", "metadata": {"timeoutMs": 20}}', "TIMEOUT"),
        (b"\x01binary", "UNSUPPORTED_DATA"),
    ],
)
async def test_format_routing_and_handler_errors_of_a_message(engine: str, frame: str | bytes, code: str) -> None:
    def setup(stage: Stage) -> None:
        @stage.app.route("app://fails", expose=True)
        async def fails(message: Any, params: Any, options: Any) -> None:
            raise RuntimeError("no")

        @stage.app.route("app://slow", expose=True)
        async def slow(message: Any, params: Any, options: Any) -> None:
            await asyncio.Event().wait()

    async with serving(setup, engine=engine) as stage, stage.client() as client:
        await client.send_raw(frame)
        answer = await client.receive()
        assert (answer["success"], answer["error"]["code"]) == (False, code)
        assert await client.request("app://echo", "still here") == "still here"


@each_engine
async def test_more_requests_than_the_backlog_holds_are_answered_overloaded(engine: str) -> None:
    release = asyncio.Event()

    def setup(stage: Stage) -> None:
        @stage.app.route("app://wait", expose=True)
        async def wait(number: Any = None, message: Any = None) -> Any:
            await release.wait()
            return message.body

    limits = {"backlogRequests": 4, "pauseTimeout": 50}
    async with serving(setup, engine=engine, connection=limits) as stage, stage.client() as client:
        asked = [asyncio.create_task(client.send({"path": "app://wait", "body": n})) for n in range(8)]
        await until(lambda: any(each.done() for each in asked))
        refused = next(each for each in asked if each.done())
        error = (await refused)["error"]
        assert (error["code"], error["retryable"]) == ("OVERLOADED", True)
        release.set()
        answers = await asyncio.gather(*asked)
        served = [each["data"] for each in answers if each["success"]]
        assert served == sorted(served) and 0 in served


@each_engine
async def test_requests_of_one_connection_are_handled_in_order(engine: str) -> None:
    done: list[int] = []

    def setup(stage: Stage) -> None:
        @stage.app.route("app://step", expose=True)
        async def step(message: Any, params: Any, options: Any) -> None:
            for _ in range(3 if message.body % 2 else 0):
                await asyncio.sleep(0)
            done.append(message.body)

    async with serving(setup, engine=engine) as stage, stage.client() as client:
        await asyncio.gather(*(client.request("app://step", n) for n in range(40)))
        assert done == list(range(40))


@each_engine
async def test_a_client_that_does_not_read_is_closed_as_a_slow_consumer(engine: str) -> None:
    limits = {"outboxBytes": 64 * 1024}
    async with (
        serving(lambda s: s.record("error"), engine=engine, connection=limits) as stage,
        Client.socket(stage.facet.get_port() or 0, 4096) as client,
    ):
        await client.upgrade()
        event = {"event": "flood", "data": "x" * 32 * 1024}
        results = [await stage.facet.broadcast(event) for _ in range(400)]
        [told] = await stage.sees("error")
        assert told["closeCode"] == Close.SLOW_CONSUMER
        totals = [sum(getattr(each, name) for each in results) for name in ("written", "queued", "dropped")]
        assert totals[0] > 0 and totals[1] > 0 and totals[2] == 1
        assert stage.facet.get_connection_count() == 0
