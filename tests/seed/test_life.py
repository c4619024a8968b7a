"""The founding design, the life of a connection: requirements 88 to 91."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mycelia import Unauthorized
from mycelia.protocol.wire.codes import Close
from tests.integration.harness import until
from tests.seed.stage import Stage, each_engine, serving


@each_engine
async def test_a_connection_is_pending_until_connect_accepts_it(engine: str) -> None:
    release = asyncio.Event()

    def setup(stage: Stage) -> None:
        @stage.sockets.route("websocket://connect")
        async def connect(message: Any, params: Any, options: Any) -> dict[str, Any]:
            stage.note("connect", options.connection)
            await stage.facet.send(options.connection_id, {"event": "welcome"})
            await release.wait()
            return {"success": True}

    async with serving(setup, engine=engine) as stage, stage.client() as client:
        [connection] = await stage.sees("connect")
        assert stage.facet.get_connection(connection.id) is connection
        assert stage.facet.get_all_connections() == [] and stage.facet.get_connection_count() == 0
        assert (await stage.facet.broadcast({"event": "not for you"})).written == 0
        asking = asyncio.create_task(client.request("app://echo", "held"))
        await asyncio.sleep(0)
        assert client.events == [] and not asking.done()
        release.set()
        assert await client.receive() == {"event": "welcome"}
        assert await asking == "held"
        assert stage.facet.get_all_connections() == [connection]


@each_engine
async def test_a_connection_is_stored_and_named_before_connect_runs(engine: str) -> None:
    def setup(stage: Stage) -> None:
        @stage.sockets.route("websocket://connect")
        async def connect(message: Any, params: Any, options: Any) -> None:
            stage.note("connect", stage.facet.get_connection(options.connection_id) is options.connection)

    async with serving(setup, engine=engine) as stage, stage.client():
        assert await stage.sees("connect") == [True]


@each_engine
@pytest.mark.parametrize("how", ["disconnect", "abort"])
async def test_disconnect_is_told_once_and_the_connection_is_still_readable(engine: str, how: str) -> None:
    def setup(stage: Stage) -> None:
        @stage.sockets.route("websocket://disconnect")
        async def disconnect(message: Any, params: Any, options: Any) -> None:
            found = stage.facet.get_connection(options.connection_id)
            stage.note("disconnect", (found is options.connection, options.connection.metadata["user"]))

    async with serving(setup, engine=engine) as stage:
        async with stage.client() as client:
            await client.request("app://echo")
            connection = stage.only()
            connection.metadata["user"] = "u-1"
            if how == "abort":
                client.abort()
        await until(lambda: stage.facet.get_connection(connection.id) is None)
        assert stage.seen == [("disconnect", (True, "u-1"))]


@each_engine
async def test_a_connection_that_is_gone_leaves_nothing_behind(engine: str) -> None:
    def setup(stage: Stage) -> None:
        @stage.app.route("app://for-ever", expose=True)
        async def for_ever(message: Any, params: Any, options: Any) -> None:
            stage.note("began")
            try:
                await asyncio.Event().wait()
            finally:
                stage.note("ended")

    async with serving(setup, engine=engine) as stage:
        tasks = asyncio.all_tasks()
        async with stage.client() as client:
            connection = stage.only()
            await client.notify("app://for-ever")
            await stage.sees("began")
        await stage.sees("ended")
        await until(lambda: stage.facet.get_connection(connection.id) is None)
        await until(lambda: asyncio.all_tasks() <= tasks)
        assert stage.facet.get_connection_count() == 0


@each_engine
async def test_an_error_is_logged_and_told_and_closes_if_it_is_fatal(
    engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mycelia")
    async with serving(lambda s: s.record("error", "disconnect"), engine=engine) as stage:
        async with stage.client() as client:
            await client.send_raw("{no json")
            assert (await client.receive())["error"]["code"] == "INVALID_JSON"
            assert await client.request("app://echo", "a message's fault is not fatal") is not None
            identity = stage.only().id
            client.abort()
            [told] = await stage.sees("error")
            await stage.sees("disconnect")
        assert told["connectionId"] == identity and [n for n, _ in stage.seen] == ["error", "disconnect"]
        assert any(identity in record.message and "1006" in record.message for record in caplog.records)


@each_engine
@pytest.mark.parametrize("how", ["success false", "Unauthorized"])
async def test_a_refused_connection_gets_its_disconnect_too(engine: str, how: str) -> None:
    def setup(stage: Stage) -> None:
        stage.record("disconnect")

        @stage.sockets.route("websocket://connect")
        async def connect(message: Any, params: Any, options: Any) -> dict[str, Any]:
            if how == "Unauthorized":
                raise Unauthorized("no token")
            return {"success": False}

    async with serving(setup, engine=engine) as stage, stage.client() as client:
        assert await client.wait_closed() == Close.NOT_AUTHENTICATED
        [told] = await stage.sees("disconnect")
        assert told["accepted"] is False
