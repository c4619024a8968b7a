"""The founding design, its table, its phases, its open questions, and what was decided: 108, 114 to 126."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mycelia import HandlerError, Message, NotRunning
from mycelia.testing import HandshakeRefused, create_mock_websocket_client
from tests.integration.harness import until
from tests.seed.stage import Stage, each_engine, serving

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_that_compares_http_and_websocket_is_kept() -> None:
    text = (ROOT / "docs" / "topics" / "http-and-websocket.md").read_text()
    rows = ("Protocol", "Connection", "Direction", "Routing", "Broadcasting", "Connection state", "Lifecycle")
    lines = text.splitlines()
    for row in rows:
        assert any(line.startswith(f"| **{row}**") for line in lines), row


def test_the_documentation_has_all_four_kinds_and_the_load_test_its_place() -> None:
    for kind in ("tutorial", "how-to", "reference", "topics"):
        assert list((ROOT / "docs" / kind).glob("*.md")), kind
    assert (ROOT / "benchmarks" / "README.md").exists()


async def test_statistics_and_health_tell_how_the_subsystem_is() -> None:
    async with serving() as stage, stage.client() as client:
        stage.app.register_route("app://fails", lambda: 1 / 0, expose=True)
        await client.request("app://echo", 1)
        with pytest.raises(HandlerError):
            await client.request("app://fails")
        told = stage.system.statistics()["app"]
        assert (told["handled"], told["failed"]) == (1, 1)
        assert (await stage.system.health())["healthy"] is True


async def test_ids_are_random_uuids_unless_the_application_makes_its_own() -> None:
    async with serving() as stage, stage.client(), stage.client():
        ids = {each.id for each in stage.facet.get_all_connections()}
        assert len(ids) == 2 and {UUID(each).version for each in ids} == {4}


@each_engine
@pytest.mark.parametrize(
    ("protocols", "chosen"),
    [
        ([], None),
        (["mycelia.v1.json"], "mycelia.v1.json"),
        (["mycelia.v1.msgpack"], "mycelia.v1.msgpack"),
        (["other", "mycelia.v1.msgpack", "mycelia.v1.json"], "mycelia.v1.msgpack"),
    ],
)
async def test_the_subprotocol_chooses_the_format(engine: str, protocols: list[str], chosen: str | None) -> None:
    async with serving(engine=engine) as stage, stage.client(subprotocols=protocols) as client:
        assert client.subprotocol == chosen
        if chosen is not None:
            hello = await client.receive_event("websocket.connected")
            assert hello["data"]["connectionId"] == stage.only().id
        assert await client.request("app://echo", {"a": [1, None]}) == {"a": [1, None]}
        assert client.events == []


async def test_json_peers_and_messagepack_peers_get_the_same_broadcast() -> None:
    async with (
        serving() as stage,
        stage.client() as text,
        stage.client(subprotocols=["mycelia.v1.msgpack"]) as packed,
    ):
        await packed.receive_event("websocket.connected")
        await stage.facet.broadcast({"event": "e", "data": {"bytes": b"\x00\x01", "n": 2**63 - 1}})
        assert (await text.receive_event("e"))["data"] == {"bytes": "AAE=", "n": 2**63 - 1}
        assert (await packed.receive_event("e"))["data"] == {"bytes": b"\x00\x01", "n": 2**63 - 1}


@each_engine
async def test_binary_without_a_codec_for_it_is_unsupported_data(engine: str) -> None:
    async with serving(engine=engine) as stage, stage.client() as client:
        await client.send_raw(b"\x80")
        assert (await client.receive())["error"]["code"] == "UNSUPPORTED_DATA"
        assert await client.request("app://echo", 1) == 1


@each_engine
async def test_the_applications_own_subprotocols_are_negotiated_and_others_refused(engine: str) -> None:
    async with serving(engine=engine, subprotocols=["chat.v2"]) as stage:
        async with stage.client(subprotocols=["chat.v2"]) as client:
            assert client.subprotocol == "chat.v2"
            assert await client.request("app://echo", 1) == 1
        with pytest.raises(HandshakeRefused, match="400"):
            await create_mock_websocket_client().connect(stage.url, subprotocols=["chat.v3"])


@each_engine
async def test_nothing_that_comes_while_connect_runs_is_lost(engine: str) -> None:
    release = asyncio.Event()

    def setup(stage: Stage) -> None:
        @stage.sockets.route("websocket://connect")
        async def connect(message: Any, params: Any, options: Any) -> None:
            stage.note("connect")
            await release.wait()

    async with serving(setup, engine=engine) as stage, stage.client() as client:
        asked = [asyncio.create_task(client.request("app://echo", n)) for n in range(20)]
        await stage.sees("connect")
        await asyncio.sleep(0)
        release.set()
        assert await asyncio.gather(*asked) == list(range(20))


async def test_an_unknown_route_is_never_a_success() -> None:
    async with serving() as stage, stage.client() as client:
        for path in ("app://nothing", "nobody://nothing", "websocket://nothing"):
            assert (await client.send({"path": path}))["success"] is False


@each_engine
async def test_two_starts_at_once_start_once(engine: str) -> None:
    async with serving(engine=engine) as stage:
        await stage.facet.stop()
        results = await asyncio.gather(stage.facet.start(), stage.facet.start(), return_exceptions=True)
        assert [type(each) for each in results] == [type(None), NotRunning]
        async with stage.client() as client:
            assert await client.request("app://echo", 1) == 1
            assert stage.facet.get_connection_count() == 1


@each_engine
async def test_dispose_closes_the_port(engine: str) -> None:
    async with serving(engine=engine) as stage:
        url = stage.url
        await stage.system.dispose()
        with pytest.raises(ConnectionRefusedError):
            await create_mock_websocket_client().connect(url)


async def test_a_request_never_speaks_for_another_connection() -> None:
    def setup(stage: Stage) -> None:
        @stage.app.route("app://who", expose=True)
        async def who(message: Any, params: Any, options: Any) -> list[Any]:
            metadata = message.metadata
            inner = await stage.system.send(Message("app://inner", message.body))
            return [options.connection_id, metadata.connection_id, metadata.caller.name, inner]

        stage.app.register_route("app://inner", lambda message, params, options: options.origin.name)

    async with serving(setup) as stage, stage.client() as one:
        victim = stage.only().id
        async with stage.client() as two:
            lie = {"connectionId": victim, "caller": {"kind": "system", "name": "main"}, "principal": "root"}
            answer = await two.send({"path": "app://who", "body": lie, "metadata": lie})
            [own] = {each.id for each in stage.facet.get_all_connections()} - {victim}
            assert answer["data"] == [own] * 4
            assert one.events == []


@each_engine
async def test_logs_hold_no_token_no_cookie_and_no_body(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def setup(stage: Stage) -> None:
        stage.record("connect", "disconnect")

        @stage.app.route("app://fails", expose=True)
        async def fails(message: Any, params: Any, options: Any) -> None:
            raise RuntimeError("the handler's own words")

    headers = {"Cookie": "session=COOKIE", "Authorization": "Bearer TOKEN"}
    async with serving(setup, engine=engine) as stage:
        async with stage.client("?token=QUERYTOKEN", headers=headers) as client:
            await client.send({"path": "app://fails", "body": "BODY"})
            await client.send_raw('{"path": "app://echo", "body": "BODY"')
            await client.receive()
            connection = stage.only()
            client.abort()
        await until(lambda: stage.facet.get_connection(connection.id) is None)
    lines = [record for record in caplog.records if record.name.startswith("mycelia.websocket")]
    formatter = logging.Formatter("%(message)s")
    text = "\n".join(formatter.format(record) for record in lines)
    assert "the handler's own words" in text
    for secret in ("COOKIE", "TOKEN", "BODY"):
        assert secret not in text
