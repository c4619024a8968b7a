"""Taking the server out of service: nothing that it accepted is lost without an answer."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mycelia.protocol.wire.codes import parse_close
from mycelia.protocol.ws.frames import Opcode, mask_frame
from mycelia.realtime.connection.work import Inbound
from mycelia.realtime.lifecycle.drain import Drain
from tests.integration.harness import App, Client, each_engine, handshake, until, within
from tests.support.links import link_of

ROOT = Path(__file__).resolve().parents[2]


def app_of(engine: str, *, window: float = 0.2, connection: dict[str, Any] | None = None) -> App:
    limits = {"close_timeout": 0.5, **(connection or {})}
    endpoint = {"type": engine, "host": "127.0.0.1", "port": 0}
    app = App({"websocket": endpoint, "connection": limits, "drain": {"window": window}})

    @app.routes.route("app://echo", expose=True)
    async def echo(message: Any, params: Any, options: Any) -> Any:
        return message.body

    return app


def draining(app: App, deadline: float = 8.0) -> asyncio.Task[None]:
    return asyncio.create_task(app.system.drain(deadline))


async def leave(client: Client) -> tuple[int, list[Any]]:
    """Reads everything, answers the Close, and returns its code and the messages before it."""
    messages: list[Any] = []
    while (frame := await client.frame()) is not None:
        if frame.opcode == Opcode.CLOSE:
            await client.send_frame(Opcode.CLOSE, frame.payload[:2])
            return parse_close(frame.payload)[0], messages
        if frame.opcode == Opcode.TEXT:
            client.frames.insert(0, frame)
            messages.append(await client.receive())
    return 1006, messages


@each_engine
@pytest.mark.every_loop
async def test_idle_clients_are_told_and_closed_with_1012(engine: str) -> None:
    app = app_of(engine)
    app.record("disconnect")
    async with app.system, app.client() as plain, app.client(protocols=["mycelia.v1.json"]) as spoken:
        assert (await spoken.receive())["event"] == "websocket.connected"
        assert (await app.system.health())["healthy"]
        task = draining(app)
        await asyncio.sleep(0)
        assert not (await app.system.health())["healthy"]
        await until(lambda: not app.facet.is_accepting())
        assert not (await app.system.health())["subsystems"]["websocket"]["checks"]["accepting"]
        assert await leave(plain) == (1012, []), "no frame that it did not ask for"
        code, [advice] = await leave(spoken)
        assert code == 1012 and advice["event"] == "websocket.reconnect"
        assert 0 <= advice["data"]["afterMs"] <= 200
        await within(task)
        assert not app.facet.is_running() and app.facet.get_connection_count() == 0
        assert [body["code"] for body in await app.heard("disconnect", 2)] == [1012, 1012]
    assert app.events == ["disconnect", "disconnect"]


@each_engine
async def test_newcomers_are_refused_while_the_old_are_served(engine: str) -> None:
    app = app_of(engine, window=0.5)
    begun, release = asyncio.Event(), asyncio.Event()

    @app.routes.route("app://slow", expose=True)
    async def slow() -> str:
        begun.set()
        await release.wait()
        return "done"

    async with app.system, app.client() as client:
        await client.json({"path": "app://slow"})
        await within(begun.wait())
        task = draining(app)
        async with Client.socket(app.port) as late:
            await late.write(handshake())
            answer = await late.rest()
            assert answer.startswith(b"HTTP/1.1 503 ") and b"Retry-After: " in answer
        release.set()
        code, messages = await leave(client)
        assert code == 1012 and [each["data"] for each in messages] == ["done"]
        await within(task)


@each_engine
@pytest.mark.parametrize("transform", [False, True])
async def test_what_was_accepted_is_answered(engine: str, transform: bool) -> None:
    app = app_of(engine, window=0.0)
    if transform:
        app = App(
            {
                "websocket": {"type": engine, "host": "127.0.0.1", "port": 0},
                "drain": {"window": 0},
                "routing": {"transformOutgoing": lambda response: response},
            }
        )
    running, release = asyncio.Event(), asyncio.Event()

    async def slow(message: Any, params: Any, options: Any) -> Any:
        running.set()
        await release.wait()
        return message.body

    app.routes.register_route("app://slow", slow, expose=True)
    app.routes.register_route("app://beside", slow, expose=True, concurrent=True)
    async with app.system, app.client() as client:
        await client.json({"path": "app://beside", "body": -1, "correlationId": -1})
        for number in range(20):
            await client.json({"path": "app://slow", "body": number, "correlationId": number})
        await until(lambda: app.facet.snapshot()["requests"] == 21)
        task = draining(app)
        await until(lambda: not app.facet.is_accepting())
        await until(lambda: link_of(app.only()).inbound is Inbound.REFUSING)
        await client.json({"path": "app://slow", "correlationId": "new"})
        refusal = await client.receive()
        assert (refusal["correlationId"], refusal["error"]["code"]) == ("new", "OVERLOADED")
        assert refusal["error"]["retryable"]
        release.set()
        code, messages = await leave(client)
        assert code == 1012
        assert sorted(each["data"] for each in messages) == list(range(-1, 20))
        await within(task)


@each_engine
async def test_half_a_message_may_be_finished_until_the_connections_moment(engine: str) -> None:
    app = app_of(engine, window=2.0)
    async with app.system, app.client() as client:
        frame = mask_frame(Opcode.TEXT, b'{"path": "app://echo", "body": "whole"}', b"abcd", True, 0)
        await client.write(frame[:20])
        task = draining(app)
        await until(lambda: not app.facet.is_accepting())
        await client.write(frame[20:])
        code, messages = await leave(client)
        assert code == 1012
        assert [each.get("data") or each["error"]["code"] for each in messages] in (["whole"], ["OVERLOADED"])
        await within(task)


@each_engine
async def test_a_paused_reader_gets_all_its_answers(engine: str) -> None:
    app = app_of(engine, window=0.0, connection={"backlog_requests": 4, "pause_timeout": 20.0})
    release = asyncio.Event()

    @app.routes.route("app://slow", expose=True)
    async def slow(message: Any, params: Any, options: Any) -> Any:
        await release.wait()
        return message.body

    async with app.system, app.client() as client:
        for number in range(10):
            await client.json({"path": "app://slow", "correlationId": number})
        await until(lambda: link_of(app.only()).paused)
        task = draining(app)
        await until(lambda: link_of(app.only()).inbound is Inbound.REFUSING)
        release.set()
        code, messages = await leave(client)
        assert code == 1012
        answered = [each["correlationId"] for each in messages if each["success"]]
        refused = [each["correlationId"] for each in messages if not each["success"]]
        assert answered == list(range(len(answered))) and len(answered) >= 4
        assert not set(answered) & set(refused)
        await within(task)


@each_engine
async def test_the_deadline_cuts_short_and_still_answers(engine: str) -> None:
    app = app_of(engine, window=0.0)
    cancelled: list[Any] = []

    async def stuck(message: Any, params: Any, options: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(message.body)
            raise

    app.routes.register_route("app://stuck", stuck, expose=True)
    app.routes.register_route("app://beside", stuck, expose=True, concurrent=True)
    async with app.system, app.client() as client:
        for number, path in enumerate(("app://beside", "app://stuck", "app://stuck", "app://stuck")):
            await client.json({"path": path, "body": number, "correlationId": number})
        await until(lambda: app.facet.snapshot()["requests"] == 4)
        task = draining(app, 0.5)
        code, messages = await leave(client)
        assert code == 1012
        told = {each["correlationId"]: each["error"]["code"] for each in messages}
        assert told == {0: "CANCELLED", 1: "CANCELLED", 2: "OVERLOADED", 3: "OVERLOADED"}
        assert sorted(cancelled) == [0, 1]
        await within(task)


@each_engine
async def test_a_client_that_never_reads_is_cut_off_at_the_deadline(engine: str) -> None:
    app = app_of(engine, window=0.0)

    @app.routes.route("app://big", expose=True)
    async def big() -> str:
        return "x" * 60_000

    async with app.system, app.client(receive_buffer=4096) as deaf, app.client() as client:
        for number in range(64):
            await deaf.json({"path": "app://big", "correlationId": number})
        links = [link_of(each) for each in app.facet.get_all_connections()]
        await until(lambda: any(link.transport and link.transport.buffered for link in links))
        task = draining(app, 0.6)
        assert (await leave(client))[0] == 1012
        await within(task)
        assert not app.facet.is_running()


@each_engine
async def test_a_stop_ends_a_drain_and_a_server_may_start_again(engine: str) -> None:
    app = app_of(engine, window=30.0)
    async with app.system, app.client() as client:
        task = draining(app, 60.0)
        await until(lambda: not app.facet.is_accepting())
        await app.facet.stop()
        assert (await client.closed())[0] == 1001
        await within(task)
        await app.facet.start()
        async with app.client() as again:
            assert (await again.request("app://echo", 1))["data"] == 1


@each_engine
async def test_closes_are_spread_and_batched(engine: str) -> None:
    app = app_of(engine, window=1.0)
    chances = iter([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    async with app.system, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(app.client()) for _ in range(6)]
        core = app.facet._core
        drain = Drain(core.registry, core.responder.is_sending, 1.0, chances.__next__)
        task = asyncio.create_task(drain.run(8.0))
        left = [asyncio.create_task(leave(client)) for client in clients]
        await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        await until(lambda: sum(each.done() for each in left) == 3)
        assert app.facet.get_connection_count() == 3
        assert [(await within(each))[0] for each in left] == [1012] * 6
        await within(task)


# -- processes and signals -----------------------------------------------------------------------------------

SERVER = """
import asyncio, sys
sys.path.insert(0, {root!r})
import uvloop
from tests.integration.harness import App
app = App({{"websocket": {{"type": "{engine}", "host": "127.0.0.1", "port": 0}}, "drain": {{"window": 0.1}}}})
@app.routes.route("app://slow", expose=True)
async def slow(body):
    print("begun", flush=True)
    await asyncio.sleep(body)
    return "done"
async def main():
    await app.system.run_until_signal({deadline}, lambda: print(app.port, flush=True))
asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main())
print("ended", flush=True)
"""


@asynccontextmanager
async def process(engine: str, deadline: float = 20.0) -> AsyncIterator[tuple[Process, int]]:
    program = SERVER.format(root=str(ROOT), engine=engine, deadline=deadline)
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=PIPE, stderr=PIPE, env={**os.environ}
    )
    try:
        assert server.stdout is not None
        yield server, int(await within(server.stdout.readline()))
        output, errors = await within(server.communicate())
        assert (server.returncode, output) == (0, b"ended\n"), errors
        assert b"Traceback" not in errors, errors.decode()
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()


@each_engine
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_the_process(engine: str, sign: signal.Signals) -> None:
    async with process(engine) as (server, port), Client.socket(port) as client:
        await client.upgrade()
        await client.json({"path": "app://slow", "body": 0.3, "correlationId": 1})
        assert server.stdout is not None
        assert await within(server.stdout.readline()) == b"begun\n"
        server.send_signal(sign)
        code, messages = await leave(client)
        assert code == 1012 and [each["data"] for each in messages] == ["done"]


@each_engine
async def test_a_second_signal_ends_the_process_at_once(engine: str) -> None:
    async with process(engine) as (server, port), Client.socket(port) as client:
        await client.upgrade()
        await client.json({"path": "app://slow", "body": 3600, "correlationId": 1})
        assert server.stdout is not None
        assert await within(server.stdout.readline()) == b"begun\n"
        server.send_signal(signal.SIGTERM)
        answer = b""
        while not answer.startswith(b"HTTP/1.1 503 "):  # until it has heard
            async with Client.socket(port) as late:
                await late.write(handshake())
                answer = await late.read()
        server.send_signal(signal.SIGTERM)
        assert (await client.closed())[0] == 1001
