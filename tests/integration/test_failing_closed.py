"""What a careless application or a hostile peer may do must neither let anybody in nor leave anybody hanging."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest

from mycelia import Message
from mycelia.protocol.ws.frames import mask_frame
from tests.integration.harness import App, Client, each_engine, handshake, serving, until, within


@each_engine
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (False, 4401),
        ({"success": False, "message": "bad token"}, 4401),
        ({"success": 0}, 4401),
        ({"success": None, "data": 1}, 4401),
        ({"error": "Unauthorized"}, 4401),
        ({"error": {"code": "FORBIDDEN"}}, 4403),
        ({"success": False, "error": {"code": "FORBIDDEN", "message": "no"}}, 4403),
    ],
    ids=str,
)
async def test_whatever_looks_like_a_refusal_is_one(engine: str, answer: Any, code: int) -> None:
    async with serving(engine) as app:
        app.sockets.register_route("websocket://connect", lambda m, p, o: answer)
        async with app.client() as client:
            assert (await client.closed())[0] == code
        await until(lambda: app.facet.get_connection_count() == 0)
        app.sockets.register_route("websocket://connect", lambda m, p, o: None, replace=True)


@each_engine
async def test_a_connect_that_ends_in_a_cancellation_of_its_own_is_an_internal_error(engine: str) -> None:
    async def awaits_the_cancelled(message: Any, params: Any, options: Any) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.cancel()
        await waiting

    async with serving(engine) as app:
        app.sockets.register_route("websocket://connect", awaits_the_cancelled)
        async with app.client() as client:
            assert (await client.closed())[0] == 1011
        app.sockets.register_route("websocket://connect", lambda m, p, o: None, replace=True)


@each_engine
async def test_an_event_that_ends_in_a_cancellation_leaves_the_connection_answering(engine: str) -> None:
    async def awaits_the_cancelled(message: Any, params: Any, options: Any) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.cancel()
        await waiting

    def setup(app: App) -> None:
        app.sockets.register_route("websocket://message", awaits_the_cancelled)

    async with serving(engine, setup) as app, app.client() as client:
        await client.json({"event": "typing"})
        assert (await client.request("app://echo", 1))["data"] == 1


@each_engine
async def test_a_worker_that_is_cancelled_while_it_sleeps_goes_on(engine: str) -> None:
    def cancels_later(message: Any, params: Any, options: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        loop.call_later(0.02, task.cancel)
        loop.call_later(0.02, cancelled.set)

    cancelled = asyncio.Event()
    async with serving(engine) as app, app.client() as client:
        app.routes.register_route("app://later", cancels_later, expose=True)
        assert (await client.request("app://later", None))["success"]
        await within(cancelled.wait())
        assert (await client.request("app://echo", 2))["data"] == 2


@each_engine
async def test_who_leaves_before_connect_began_is_told_of_to_nobody(engine: str) -> None:
    async with serving(engine) as app:
        app.record("disconnect")
        app.facet.on_connect(lambda m, p, o: app.note("connect"))
        for _ in range(20):
            async with Client.socket(app.port) as client:
                await client.write(handshake())
                client.leave()
        async with app.client() as honest:
            assert (await honest.request("app://echo", 1))["data"] == 1
        await until(lambda: app.facet.get_connection_count() == 0)
        await until(lambda: app.events.count("connect") == app.events.count("disconnect") > 0)


@each_engine
async def test_a_login_by_message_gives_rights_and_a_logout_takes_them(engine: str) -> None:
    def setup(app: App) -> None:
        app.routes.register_route("app://secret", lambda m, p, o: "secret", expose=True, requires={"read"})
        app.routes.register_route("app://login", login, expose=True)

    def login(message: Message, params: Any, options: Any) -> None:
        options.connection.metadata = {"userId": 1, "permissions": message.body}

    async with serving(engine, setup) as app, app.client() as client:
        assert (await client.request("app://secret", None))["error"]["code"] == "UNAUTHORIZED"
        await client.request("app://login", ["read"])
        assert (await client.request("app://secret", None))["data"] == "secret"
        await client.request("app://login", [])
        assert (await client.request("app://secret", None))["error"]["code"] == "FORBIDDEN"


@each_engine
@pytest.mark.parametrize("made", [None, 7, b"x", "", "a\nb", "x" * 129, "\ud800"], ids=repr)
async def test_an_id_that_is_none_is_refused_with_the_handshake(engine: str, made: Any) -> None:
    ids = iter([made])
    limits = {"generate_connection_id": lambda request: next(ids, f"honest-{id(request)}")}
    async with serving(engine, connection=limits) as app, Client.socket(app.port) as client:
        await client.write(handshake())
        assert (await client.read()).startswith(b"HTTP/1.1 500 ")
        assert app.facet.get_connection_count() == 0


@each_engine
async def test_unfinished_messages_share_a_budget_and_the_largest_goes_first(engine: str) -> None:
    message = mask_frame(1, b'{"path":"app://echo","body":"' + b"x" * 60_000 + b'"}', b"mask")
    limits = {"inbound_bytes": 150_000}
    async with serving(engine, connection=limits, max_payload=65_536) as app, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(app.client()) for _ in range(4)]
        sizes = [30_000, 55_000, 40_000, 30_000]  # the fourth is one too many, the second the largest
        for client, size in zip(clients, sizes, strict=True):
            await client.write(message[:size])
        assert (await clients[1].closed())[0] == 1012
        for number in (0, 2, 3):
            await clients[number].write(message[sizes[number] :])
            assert (await clients[number].receive())["success"]


@each_engine
async def test_half_open_connections_are_capped_per_address(engine: str) -> None:
    limits = {"max_half_open_per_address": 3}
    async with serving(engine, connection=limits) as app, AsyncExitStack() as stack:
        dialled = [await stack.enter_async_context(Client.socket(app.port)) for _ in range(3)]
        for client in dialled:
            await client.write(b"GET /ws HTTP/1.1\r\n")
        async with Client.socket(app.port) as refused:
            with suppress(ConnectionResetError):
                assert await refused.read() == b""
        dialled[0].leave()
