"""What happens when a handler fails, its client leaves, or the server has too much to do."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from asyncio.subprocess import PIPE
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from mycelia import Message
from tests.integration.harness import App, Client, each_engine, handshake, serving, until, within

SECRET = "the password is swordfish"
ROOT = Path(__file__).resolve().parents[2]


# -- the client leaves ---------------------------------------------------------------------------------------


@each_engine
@pytest.mark.parametrize("settings", [{}, {"concurrent": True}, {"isolated": True}, {"timeout": 60.0}], ids=str)
@pytest.mark.parametrize("how", ["leave", "reset", "close"])
async def test_a_handler_is_cancelled_once_when_its_client_leaves(
    engine: str, settings: dict[str, Any], how: str
) -> None:
    cancelled: list[str] = []
    begun, cleaned, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(message: Any, params: Any, options: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("once")
            await go_on.wait()  # a second cancellation would come out here
            cleaned.set()
            raise

    def setup(app: App) -> None:
        app.routes.register_route("app://slow", slow, expose=True, **settings)
        app.record("disconnect")

    async with serving(engine, setup, connection={"close_timeout": 1.0}) as app, app.client() as client:
        await client.json({"path": "app://slow"})
        await within(begun.wait())
        if how == "close":
            await client.close()
        else:
            getattr(client, how)()
        await until(lambda: cancelled)
        for _ in range(20):
            await asyncio.sleep(0)
        go_on.set()
        await within(cleaned.wait())
        await app.heard("disconnect")
    assert cancelled == ["once"] and app.events.count("disconnect") >= 1


@each_engine
async def test_what_is_shielded_goes_on_when_the_client_leaves(engine: str) -> None:
    begun, release, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
    keep: set[asyncio.Task[None]] = set()

    async def pay() -> None:
        begun.set()
        await release.wait()
        done.set()

    async def order(message: Any, params: Any, options: Any) -> None:
        task = asyncio.create_task(pay())
        keep.add(task)
        await asyncio.shield(task)

    def setup(app: App) -> None:
        app.routes.register_route("app://order", order, expose=True)
        app.record("disconnect")

    async with serving(engine, setup) as app, app.client() as client:
        await client.json({"path": "app://order"})
        await within(begun.wait())
        client.leave()
        await app.heard("disconnect")
        release.set()
        await within(done.wait())


# -- the handler raises --------------------------------------------------------------------------------------


async def fail(message: Any, params: Any, options: Any) -> None:
    raise ValueError(SECRET)


@each_engine
async def test_one_id_is_in_the_answer_the_log_and_the_record(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    def setup(app: App) -> None:
        app.routes.register_route("app://fail", fail, expose=True)
        app.routes.register_route("app://aside", fail, expose=True, isolated=True)
        app.routes.register_route("app://beside", fail, expose=True, concurrent=True)

    async with serving(engine, setup) as app, app.client() as client:
        ids: list[str] = []
        for path in ("app://fail", "app://aside", "app://beside", "app://fail"):
            error = (await client.request(path, metadata={"traceId": f"t-{len(ids)}"}))["error"]
            assert error["code"] == "HANDLER_ERROR" and SECRET not in str(error)
            ids.append(error["details"]["errorId"])
        report = await app.system.send(Message("websocket://errors"))
        assert report["total"] == 4 and SECRET not in str(report)
        assert [each["id"] for each in report["errors"]] == ids[::-1]
        newest = report["errors"][0]
        assert (newest["path"], newest["exception"], newest["count"]) == ("app://fail", "ValueError", 2)
        assert newest["traceId"] == "t-3" and newest["connectionId"] == app.only().id
        assert newest["place"].startswith("fail (test_failure.py:")
        logged = [getattr(record, "error_id", None) for record in caplog.records]
        assert [each for each in logged if each] == ids
        assert (await app.system.send(Message("websocket://errors", {"limit": 1})))["errors"] == [newest]


@each_engine
async def test_no_client_reads_the_record(engine: str) -> None:
    async with serving(engine, routing={"expose": ["websocket://*"]}) as app, app.client() as client:
        for path in ("websocket://errors", "websocket://nothing"):
            assert (await client.request(path))["error"]["code"] == "NOT_FOUND"


@each_engine
async def test_the_record_is_bounded_and_counts_on(engine: str) -> None:
    endpoint = {"type": engine, "host": "127.0.0.1", "port": 0}
    app = App({"websocket": endpoint, "errors": {"records": 3, "fingerprints": 2}})
    app.routes.register_route("app://fail", fail, expose=True)
    async with app.system, app.client() as client:
        for _ in range(5):
            await client.request("app://fail")
        report = app.facet.errors({"limit": 100})
        assert report["total"] == 5 and [each["count"] for each in report["errors"]] == [5, 4, 3]


async def test_connect_and_transforms_are_recorded_too() -> None:
    def wrong(value: Any) -> Any:
        raise LookupError(SECRET)

    app = App(
        {"websocket": {"type": "picows", "host": "127.0.0.1", "port": 0}, "routing": {"transformIncoming": wrong}}
    )
    refused: list[bool] = []

    async def connect(message: Any, params: Any, options: Any) -> None:
        if not refused:
            refused.append(True)
            raise KeyError(SECRET)

    app.sockets.register_route("websocket://connect", connect)
    async with app.system:
        async with app.client() as client:
            assert (await client.closed())[0] == 1011
        async with app.client() as client:
            await client.json({"path": "app://x"})
            assert (await client.receive())["error"]["code"] == "INVALID_MESSAGE"
        newest, first = app.facet.errors()["errors"]
        assert (newest["what"], newest["exception"]) == ("transform_incoming failed", "LookupError")
        assert (first["path"], first["exception"]) == ("websocket://connect", "KeyError")


# -- overload ------------------------------------------------------------------------------------------------


@each_engine
async def test_overload_refuses_new_work_and_finishes_what_was_accepted(engine: str) -> None:
    release = asyncio.Event()

    async def slow(message: Any, params: Any, options: Any) -> Any:
        await release.wait()
        return message.body

    def setup(app: App) -> None:
        app.routes.register_route("app://slow", slow, expose=True)

    async with serving(engine, setup) as app, app.client() as client, app.client() as other:
        for number in range(3):
            await client.json({"path": "app://slow", "body": number, "correlationId": number})
        await until(lambda: app.facet.snapshot()["requests"] == 3)
        monitor = app.facet._core.monitor
        monitor.check(9.0)
        assert not monitor.is_overloaded, "one late look is one blocking handler"
        monitor.check(9.0)
        assert monitor.is_overloaded and app.facet.snapshot()["overload"]["shedding"] == ["lag"]
        for one in (client, other):
            error = (await one.request("app://echo"))["error"]
            assert (error["code"], error["retryable"]) == ("OVERLOADED", True)
        await other.json({"path": "app://echo", "metadata": {"noReply": True}})
        async with Client.socket(app.port) as late:
            await late.write(handshake())
            answer = await late.rest()
            assert answer.startswith(b"HTTP/1.1 503 ") and b"Retry-After: " in answer
        release.set()
        assert [(await client.receive())["data"] for _ in range(3)] == [0, 1, 2]
        monitor.check(0.0)
        assert not monitor.is_overloaded
        assert (await other.request("app://echo", 1))["data"] == 1
        assert (await client.request("app://echo", 2))["data"] == 2


@each_engine
async def test_a_client_still_answers_the_server_under_overload(engine: str) -> None:
    async def ask(message: Any, params: Any, options: Any) -> Any:
        return await options.connection.request("client://sure")

    def setup(app: App) -> None:
        app.routes.register_route("app://ask", ask, expose=True)

    async with serving(engine, setup) as app, app.client() as client:
        await client.json({"path": "app://ask", "correlationId": 1})
        question = await client.receive()
        monitor = app.facet._core.monitor
        monitor.check(9.0)
        monitor.check(9.0)
        await client.json({"success": True, "data": "yes", "correlationId": question["correlationId"]})
        assert (await client.receive())["data"] == "yes"
        monitor.check(0.0)


@each_engine
async def test_too_many_requests_and_too_much_memory_are_overload(engine: str) -> None:
    release = asyncio.Event()

    async def slow(message: Any, params: Any, options: Any) -> None:
        await release.wait()

    endpoint = {"type": engine, "host": "127.0.0.1", "port": 0}
    app = App({"websocket": endpoint, "overload": {"max_requests": 2}, "connection": {"close_timeout": 0.3}})
    app.routes.register_route("app://slow", slow, expose=True)
    async with app.system, app.client() as client, app.client() as other:
        for number in range(3):
            await client.json({"path": "app://slow", "correlationId": number})
        await until(lambda: app.facet.snapshot()["overload"]["shedding"] == ["requests"])
        assert (await other.request("app://slow"))["error"]["code"] == "OVERLOADED"
        release.set()
        await until(lambda: not app.facet.snapshot()["overload"]["shedding"])
        assert (await other.request("app://slow"))["success"]
    app = App({"websocket": endpoint, "overload": {"memory_ceiling_bytes": 1}})
    async with app.system, Client.socket(app.port) as late:
        await until(lambda: app.facet.snapshot()["overload"]["shedding"] == ["memory"])
        await late.write(handshake())
        assert (await late.rest()).startswith(b"HTTP/1.1 503 ")


@each_engine
async def test_a_handler_that_blocks_the_loop_is_named(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "mycelia.websocket")

    def block(message: Any, params: Any, options: Any) -> int:
        patience = time.monotonic() + 8
        while not app.facet.snapshot()["overload"]["stalls"] and time.monotonic() < patience:
            pass
        return int(app.facet.snapshot()["overload"]["stalls"])

    endpoint = {"type": engine, "host": "127.0.0.1", "port": 0}
    app = App({"websocket": endpoint, "overload": {"stall_warning": 0.1}, "connection": {"close_timeout": 0.3}})
    app.routes.register_route("app://block", block, expose=True)
    async with app.system, app.client() as client:
        assert (await client.request("app://block"))["data"] == 1
        assert app.facet.snapshot()["overload"]["lastStall"] == "app://block"
    assert any("the handler of app://block" in record.getMessage() for record in caplog.records)


# -- descriptors ---------------------------------------------------------------------------------------------

FEW = """
import asyncio, json, os, resource, sys
import uvloop
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
sys.path.insert(0, {root!r})
from tests.integration.harness import App, Client, handshake, until

async def main():
    app = App({{"websocket": {{"type": "{engine}", "host": "127.0.0.1", "port": 0}}}})
    @app.routes.route("app://open", expose=True)
    async def opens():
        with open("/dev/null"):
            return app.facet.snapshot()["overload"]["starved"]
    @app.routes.route("app://room", expose=True)
    async def room():
        await until(lambda: len(os.listdir("/proc/self/fd")) < 64)
    async with app.system:
        print(app.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        print(json.dumps(app.facet.snapshot()), flush=True)
asyncio.Runner(loop_factory={loop}).run(main())
"""


@each_engine
@pytest.mark.parametrize("loop", ["uvloop.new_event_loop", "None"])
async def test_the_last_descriptors_are_not_given_to_newcomers(engine: str, loop: str) -> None:
    program = FEW.format(root=str(ROOT), engine=engine, loop=loop)
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={**os.environ}
    )
    assert server.stdout is not None and server.stdin is not None
    try:
        port = int(await within(server.stdout.readline()))
        async with Client.socket(port) as old, AsyncExitStack() as stack:
            await old.upgrade()
            crowd, answers = [], []
            for _ in range(100):
                one = await stack.enter_async_context(Client.socket(port))
                crowd.append(one)
                with suppress(ConnectionError):  # it may be reset before it could say anything
                    await one.write(handshake())
                answers.append(await one.read())
            served = sum(answer.startswith(b"HTTP/1.1 101") for answer in answers)
            assert 0 < served < 100 and answers.count(b"") == 100 - served
            answer = await old.request("app://open")  # what was there goes on, and can open a file
            assert answer["data"] == 100 - served
            for one in crowd:
                one.leave()
            assert (await old.request("app://room"))["success"]
            async with Client.socket(port) as late:  # and when there is room again newcomers are served
                await late.upgrade()
                assert (await late.request("app://open"))["success"]
        server.stdin.write(b"\n")
        _, errors = await within(server.communicate())
        assert server.returncode == 0, errors
        assert b"Too many open files" not in errors
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()
