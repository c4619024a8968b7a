"""The founding design, the connection: requirements 52 to 59."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mycelia import ConnectionNotFound
from mycelia.protocol.wire.codes import Close
from mycelia.protocol.ws.frames import Opcode
from tests.integration.harness import Client, until
from tests.seed.stage import each_engine, serving


async def test_it_has_an_id() -> None:
    async with serving() as stage, stage.client(), stage.client():
        first, second = stage.facet.get_all_connections()
        assert isinstance(first.id, str) and first.id != second.id


@each_engine
async def test_it_has_the_librarys_socket_while_it_lives(engine: str) -> None:
    async with serving(engine=engine) as stage:
        async with stage.client():
            connection = stage.only()
            native: Any = connection.socket
            assert not native.is_closing() and native.get_extra_info("peername")[0] == "127.0.0.1"
        await until(lambda: connection.socket is None)


async def test_its_metadata_is_a_mapping_that_the_application_writes() -> None:
    async with serving() as stage, stage.client("?userId=intruder", headers={"userId": "intruder"}):
        metadata = stage.only().metadata
        assert metadata == {} and isinstance(metadata, dict)
        metadata["userId"] = "u-1"
        assert stage.only().metadata == {"userId": "u-1"}


async def test_it_knows_when_it_connected_and_was_last_active() -> None:
    before = datetime.now(UTC)
    async with serving() as stage, stage.client() as client:
        connection = stage.only()
        assert before <= connection.connected_at == connection.last_activity <= datetime.now(UTC)
        assert connection.connected_at.tzinfo is UTC
        await client.request("app://echo")
        assert connection.last_activity > connection.connected_at


@each_engine
async def test_pings_are_no_activity(engine: str) -> None:
    async with serving(engine=engine) as stage, Client.socket(stage.facet.get_port() or 0) as client:
        await client.upgrade()
        connection = stage.only()
        await client.send_frame(Opcode.PING, b"are you there?")
        frame = await client.frame()
        assert frame is not None and (frame.opcode, frame.payload) == (Opcode.PONG, b"are you there?")
        connection.ping()
        ping = await client.frame()
        assert ping is not None
        await client.send_frame(Opcode.PONG, ping.payload)
        await until(lambda: connection.rtt is not None)
        assert connection.last_activity == connection.connected_at


@each_engine
async def test_send_writes_to_this_client_and_raises_when_it_is_gone(engine: str) -> None:
    async with serving(engine=engine) as stage:
        async with stage.client() as client, stage.client() as other:
            connection = stage.facet.get_all_connections()[0]
            await connection.send({"event": "only you", "data": 0})
            assert await client.receive_event() == {"event": "only you", "data": 0}
            assert other.events == []
        await until(lambda: stage.facet.get_connection(connection.id) is None)
        with pytest.raises(ConnectionNotFound):
            await connection.send({"event": "too late"})


@each_engine
async def test_close_says_code_and_reason(engine: str) -> None:
    async with serving(engine=engine) as stage, stage.client() as client:
        connection = stage.only()
        connection.close(Close.REMOVED, "out you go")
        connection.close(1000, "a second close does nothing")
        assert await client.wait_closed() == 4410 and client.close_reason == "out you go"
        assert not connection.is_open


@each_engine
async def test_ping_measures_the_way_there_and_back(engine: str) -> None:
    async with serving(engine=engine) as stage, stage.client():
        connection = stage.only()
        assert connection.rtt is None
        connection.ping()
        await until(lambda: connection.rtt is not None)
        assert connection.rtt is not None and connection.rtt > 0
