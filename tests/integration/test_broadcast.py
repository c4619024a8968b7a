"""Broadcasts, direct sends, slow peers and the heartbeat, over real sockets."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

from mycelia import Message
from mycelia.errors import ConnectionNotFound, Disabled, InvalidMessage
from mycelia.protocol.ws.frames import Opcode
from mycelia.websocket import BroadcastResult, Overflow, WebSocketConnection
from tests.integration.harness import App, Client, each_engine, serving, until, within
from tests.support.links import link_of
from tests.support.names import shown

COUNTS = {"written": 0, "queued": 0, "dropped": 0}


def users(app: App) -> None:
    """`connect` keeps the query as metadata."""

    async def connect(message: Any, params: Any, options: Any) -> None:
        options.connection.metadata.update(message.body["query"], flag=True, level=1)

    app.sockets.register_route("websocket://connect", connect)


async def enter(stack: AsyncExitStack, app: App, *names: str) -> list[Client]:
    """One client for each name, all open."""
    clients = [await stack.enter_async_context(app.client(f"/ws?user={name}")) for name in names]
    await until(lambda: app.facet.get_connection_count() == len(names))
    return clients


async def reached(app: App, clients: list[Client]) -> list[bool]:
    """Who got something before the mark that all of them get."""
    await app.facet.broadcast({"event": "mark"})
    found = []
    for client in clients:
        message = await client.receive()
        found.append(message["event"] != "mark")
        while message["event"] != "mark":
            message = await client.receive()
    return found


# -- to whom -------------------------------------------------------------------------------------------------


@each_engine
@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (None, [True, True, True]),
        ({}, [True, True, True]),
        ({"user": "a"}, [True, False, False]),
        ({"user": "a", "flag": True}, [True, False, False]),
        ({"user": "a", "flag": False}, [False, False, False]),
        ({"flag": 1}, [False, False, False]),
        ({"level": 1}, [True, True, True]),
        ({"absent": None}, [False, False, False]),
        (lambda connection: connection.metadata["user"] in "bc", [False, True, True]),
        (lambda connection: 0, [False, False, False]),
    ],
    ids=shown,
)
async def test_filters_choose_who_gets_it(engine: str, chosen: Any, expected: list[bool]) -> None:
    async with serving(engine, users) as app, AsyncExitStack() as stack:
        clients = await enter(stack, app, "a", "b", "c")
        result = await app.facet.broadcast({"event": "news"}, chosen)
        assert result == BroadcastResult(written=sum(expected))
        assert await reached(app, clients) == expected
        if chosen is None or isinstance(chosen, dict):
            body = {"event": "news", "data": 1, "filter": chosen}
            counts = await app.system.send(Message("websocket://broadcast", body))
            assert counts == {**COUNTS, "written": sum(expected)}
            assert body["filter"] is chosen  # the sender's own mapping stays as it was
            assert await reached(app, clients) == expected


@each_engine
async def test_a_broadcast_by_message_is_sent_without_its_filter(engine: str) -> None:
    async with serving(engine, users) as app, AsyncExitStack() as stack:
        one, two = await enter(stack, app, "a", "b")
        body = {"event": "notice", "data": {"n": 1}, "filter": {"user": "a"}}
        assert await app.system.send(Message("websocket://broadcast", body)) == {**COUNTS, "written": 1}
        assert await one.receive() == {"event": "notice", "data": {"n": 1}}
        await app.system.send(Message("websocket://broadcast", {"event": "all"}))
        assert await two.receive() == {"event": "all"}
        for wrong in ("user", 5, ["user"], True):
            with pytest.raises(InvalidMessage):
                await app.system.send(Message("websocket://broadcast", {"event": "x", "filter": wrong}))
        assert await reached(app, [two]) == [False]


@each_engine
async def test_a_predicate_that_raises_for_a_connection_leaves_that_one_out(engine: str) -> None:
    def picky(connection: WebSocketConnection) -> bool:
        if connection.metadata["user"] == "c":
            raise LookupError
        return True

    async with serving(engine, users) as app, AsyncExitStack() as stack:
        clients = await enter(stack, app, "a", "b", "c")
        result = await app.facet.broadcast({"event": "news"}, picky)
        assert (result.written, result.dropped) == (2, 0)
        assert await reached(app, clients) == [True, True, False]


@each_engine
async def test_direct_sends(engine: str) -> None:
    async with serving(engine, users) as app, AsyncExitStack() as stack:
        one, two = await enter(stack, app, "a", "b")
        first = next(each for each in app.facet.get_all_connections() if each.metadata["user"] == "a")
        assert await app.facet.send(first.id, {"event": "facet"}) is None
        assert await app.system.send(Message(f"websocket://send/{first.id}", {"event": "message"})) == {
            "delivery": "written"
        }
        await first.send({"event": "object"})
        await app.facet.send(first.id, Message("client://note", {"n": 1}))
        assert [(await one.receive())["event"] for _ in range(3)] == ["facet", "message", "object"]
        note = await one.receive()
        assert (note["path"], note["body"]) == ("client://note", {"n": 1})
        assert set(note) <= {"path", "body", "metadata"} and set(note["metadata"]) == {"traceId"}
        assert await reached(app, [two]) == [False]
        for attempt in (app.facet.send("nobody", {}), app.system.send(Message("websocket://send/nobody", {}))):
            with pytest.raises(ConnectionNotFound):
                await attempt


@each_engine
async def test_switches_disable_the_broadcast_and_the_direct_send(engine: str) -> None:
    routing = {"enableBroadcast": False, "enableDirectSend": False}
    async with serving(engine, routing=routing) as app, app.client():
        connection_id = app.only().id
        for attempt in (
            app.facet.broadcast({"event": "x"}),
            app.facet.send(connection_id, {"event": "x"}),
            app.system.send(Message("websocket://broadcast", {"event": "x"})),
            app.system.send(Message(f"websocket://send/{connection_id}", {"event": "x"})),
        ):
            with pytest.raises(Disabled):
                await attempt


# -- encodings -------------------------------------------------------------------------------------------------


@each_engine
async def test_json_and_msgpack_peers_get_the_same_broadcast(engine: str) -> None:
    async with (
        serving(engine) as app,
        app.client() as plain,
        app.client(protocols=["mycelia.v1.json"]) as text,
        app.client(protocols=["mycelia.v1.msgpack"]) as packed,
    ):
        for client in (text, packed):
            assert (await client.receive())["event"] == "websocket.connected"
        sent = {"event": "news", "data": {"bytes": b"\x00\xff", "n": [1, 2.5, None, "ä"]}}
        assert await app.facet.broadcast(sent) == BroadcastResult(written=3)
        assert await packed.receive() == sent
        for client in (plain, text):
            assert (await client.receive())["data"] == {"bytes": "AP8=", "n": [1, 2.5, None, "ä"]}


@each_engine
@pytest.mark.parametrize("bad", [object(), float("nan"), 2**64, {1: 2}, {"deep": None}], ids=shown)
async def test_what_cannot_be_encoded_is_sent_to_nobody(engine: str, bad: Any) -> None:
    if bad == {"deep": None}:
        for _ in range(70):
            bad = [bad]
    async with serving(engine) as app, app.client() as one, app.client(protocols=["mycelia.v1.msgpack"]) as two:
        await two.receive()
        for attempt in (
            app.facet.broadcast({"event": "x", "data": bad}),
            app.facet.send(app.facet.get_all_connections()[0].id, {"event": "x", "data": bad}),
            app.system.send(Message("websocket://broadcast", {"event": "x", "data": bad})),
        ):
            with pytest.raises(InvalidMessage):
                await attempt
        assert await reached(app, [one, two]) == [False, False]


# -- slow peers ------------------------------------------------------------------------------------------------


def numbered(number: int) -> dict[str, Any]:
    return {"event": "n", "data": [number, "x" * 30_000]}


async def flood(app: App, overflow: Overflow, key: str | None = None) -> list[BroadcastResult]:
    """Broadcasts until somebody's outbox has overflowed for a while."""
    results: list[BroadcastResult] = []
    extra = 0
    while extra < 20 and len(results) < 3000:
        results.append(await app.facet.broadcast(numbered(len(results)), overflow=overflow, key=key))
        await asyncio.sleep(0)
        extra += app.facet.get_connection_count() == 0 or results[-1].dropped or _queued(results) > 400
    return results


def _queued(results: list[BroadcastResult]) -> int:
    return sum(result.queued for result in results)


@each_engine
@pytest.mark.parametrize("overflow", [Overflow.DROP_NEWEST, Overflow.DROP_OLDEST, Overflow.LATEST])
async def test_a_slow_peer_misses_what_the_policy_says_and_every_drop_is_counted(
    engine: str, overflow: Overflow
) -> None:
    key = "price" if overflow is Overflow.LATEST else None
    async with serving(engine, connection={"outbox_bytes": 200_000}) as app:
        async with app.client(receive_buffer=4096) as slow:
            results = await flood(app, overflow, key)
            connection = app.only()
            assert connection.is_open
            reading = asyncio.create_task(slow.messages())
            await until(lambda: link_of(connection).can_write_directly)
            await app.facet.broadcast({"event": "n", "data": [-1, ""]})
            connection.close(4000)
            got = [message["data"][0] for message in await within(reading)]
        sent = len(results)
        missed = sorted(set(range(sent)) - set(got))
        assert got[:-1] == sorted(got[:-1]) and got[-1] == -1, "order is kept"
        assert missed, "nothing was dropped: the flood was too small"
        if overflow is Overflow.DROP_NEWEST:
            assert [n for n, result in enumerate(results) if result.dropped] == missed
        else:
            assert got[-2] == sent - 1, "the newest is what a slow peer gets at last"
            assert missed == list(range(missed[0], missed[-1] + 1))
        assert sum(result.dropped for result in results) == len(missed)


@each_engine
async def test_a_slow_peer_is_closed_by_default_and_the_others_are_not_harmed(engine: str) -> None:
    limits = {"outbox_bytes": 200_000}
    async with (
        serving(engine, lambda app: app.record("error", "disconnect"), connection=limits) as app,
        app.client(receive_buffer=4096),
        app.client() as quick,
    ):
        reading = asyncio.create_task(quick.messages())
        sent, result = 0, BroadcastResult()
        while not result.dropped and sent < 2000:
            result = await app.facet.broadcast(numbered(sent))
            assert result.written + result.queued + result.dropped == 2
            sent += 1
            await until(lambda: all(link_of(each).can_write_directly for each in app.facet.get_all_connections()[-1:]))
        [body] = await app.heard("error")
        assert body["closeCode"] == 4504
        await app.heard("disconnect")
        app.only().close()
        assert [message["data"][0] for message in await within(reading)] == list(range(sent))


@each_engine
async def test_a_reply_is_never_dropped_for_a_flood_of_broadcasts(engine: str) -> None:
    limits = {"outbox_bytes": 200_000}
    async with (
        serving(engine, connection=limits) as app,
        app.client(receive_buffer=4096) as slow,
    ):
        await flood(app, Overflow.DROP_OLDEST)
        await slow.json({"path": "app://echo", "body": "reply", "correlationId": 7})
        connection = app.only()
        before = connection.last_activity
        await until(lambda: connection.last_activity != before)
        for number in range(20):
            await app.facet.broadcast(numbered(number), overflow=Overflow.DROP_OLDEST)
        reading = asyncio.create_task(slow.messages())
        await until(lambda: link_of(connection).can_write_directly)
        connection.close()
        assert [m["data"] for m in await within(reading) if "success" in m] == ["reply"]


# -- heartbeat ---------------------------------------------------------------------------------------------------


@each_engine
@pytest.mark.every_loop
async def test_a_lost_pong_is_an_error_then_a_disconnect(engine: str) -> None:
    beat = {"ping_interval": 0.2, "ping_timeout": 0.2}
    async with serving(engine, lambda app: app.record("error", "disconnect"), connection=beat) as app:
        async with app.client() as client:
            client.pongs = False
            assert (await client.closed())[0] == 4505
            assert client.pings == 1
            await client.send_frame(Opcode.CLOSE, (4505).to_bytes(2))
            [body] = await app.heard("disconnect")
        assert body["code"] == 4505 and app.events == ["error", "disconnect"]
        assert app.told[0][2]["closeCode"] == 4505


@each_engine
async def test_who_answers_pings_stays_and_is_pinged_once_per_interval(engine: str) -> None:
    beat = {"ping_interval": 1.5, "ping_timeout": 0.1}
    async with serving(engine, connection=beat) as app, app.client() as client:
        arrivals: list[float] = []
        while len(arrivals) < 3:
            frame = await client.frame()
            assert frame is not None and frame.opcode == Opcode.PING
            arrivals.append(time.monotonic())
            await client.send_frame(Opcode.PONG, frame.payload)
        assert app.only().is_open
        gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
        assert min(gaps) > 0.8, f"expected a ping every 1.5 s, got one after {min(gaps):.2f} s"


@each_engine
async def test_messages_count_as_signs_of_life_and_pings_are_no_activity(engine: str) -> None:
    beat = {"ping_interval": 0.2, "ping_timeout": 0.3}
    async with serving(engine, connection=beat) as app, app.client() as client:
        client.pongs = False
        before = app.only().last_activity
        while client.pings < 3:
            frame = await client.frame()
            assert frame is not None
            if frame.opcode == Opcode.PING:
                client.pings += 1
                assert client.pings > 1 or app.only().last_activity == before
                await client.json({"path": "app://echo"})
            else:
                assert frame.opcode == Opcode.TEXT, "a client that sends messages is alive"
        assert app.only().is_open


@each_engine
async def test_an_applications_own_ping_is_no_reason_to_hang_up(engine: str) -> None:
    beat = {"ping_interval": 0.3, "ping_timeout": 30.0}
    async with serving(engine, connection=beat) as app, app.client() as client:
        client.pongs = False
        app.only().ping()
        with pytest.raises(TimeoutError):
            await client.closed(seconds=1.5)
        client.pongs = True
        app.only().ping()
        assert (await client.request("app://echo", 1))["data"] == 1


@each_engine
async def test_the_answer_to_a_ping_gives_the_round_trip_time(engine: str) -> None:
    async with serving(engine) as app, app.client() as client:
        connection = app.only()
        assert connection.rtt is None
        connection.ping()
        await client.request("app://echo", 1)
        await client.request("app://echo", 2)
        assert connection.rtt is not None and 0 <= connection.rtt < 10


@each_engine
async def test_a_blocked_loop_does_not_kill_clients(engine: str) -> None:
    beat = {"ping_interval": 0.3, "ping_timeout": 0.3}
    async with serving(engine, lambda app: app.record("error"), connection=beat) as app, app.client() as client:
        frame = await client.frame()
        assert frame is not None and frame.opcode == Opcode.PING
        # The pong is on its way while the server can neither read nor look at its clock.
        await client.send_frame(Opcode.PONG, frame.payload)
        until_then = time.monotonic() + 1.5
        while time.monotonic() < until_then:
            pass
        assert (await client.request("app://echo", 1))["data"] == 1
        assert app.events == []


@each_engine
async def test_a_peer_that_was_paused_is_not_judged(engine: str) -> None:
    limits = {"ping_interval": 0.3, "ping_timeout": 0.3, "backlog_requests": 2, "pause_timeout": 20.0}
    release = asyncio.Event()

    async def slow(message: Any, params: Any, options: Any) -> None:
        await release.wait()

    async with serving(engine, lambda app: app.record("error"), connection=limits) as app, app.client() as client:
        app.routes.register_route("app://slow", slow, expose=True)
        for number in range(4):
            await client.json({"path": "app://slow", "correlationId": number})
        await until(lambda: link_of(app.only()).paused)
        with pytest.raises(TimeoutError):
            await client.closed(seconds=1.5)
        assert app.events == []
        release.set()
        for number in range(4):
            assert (await client.receive())["correlationId"] == number
