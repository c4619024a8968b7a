"""Endpoints of different types that feed one subsystem: each connection tells its engine, and broadcasts reach all."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.routing import Mount
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from mycelia import BaseSubsystem, MessageSystem
from mycelia.protocol.socketio.codec import SocketioCodec
from mycelia.protocol.wire.json import JsonCodec
from mycelia.protocol.wire.msgpack import MsgpackCodec
from mycelia.testing import create_mock_websocket_client
from mycelia.websocket import WebSocketSubsystem
from tests.integration.asgi_servers import Uvicorn
from tests.integration.harness import PATIENCE, until, within

ENDPOINTS: list[dict[str, Any]] = [
    {"type": "picows", "host": "127.0.0.1", "port": 0},
    {"type": "websockets", "host": "127.0.0.1", "port": 0},
    {"type": "asgi", "path": "/ws"},
    {"type": "memory"},
    {"type": "socketio", "path": "/socket.io/"},
]


class Stage:
    """The system, a uvicorn for those endpoints that have no port, and a client of every kind."""

    def __init__(self) -> None:
        self.system = MessageSystem("main")
        self.routes = BaseSubsystem("app", ms=self.system)
        config = {"websocket": ENDPOINTS, "connection": {"close_timeout": PATIENCE}}
        self.sockets = WebSocketSubsystem("websocket", ms=self.system, config=config)
        self.routes.register_route("app://who", self.who, expose=True)
        self.told: dict[str, str] = {}

    def who(self, message: Any, params: Any, options: Any) -> str:
        engine = str(options.connection.client.engine)
        assert message.metadata.client.engine == engine
        assert options.connection.client.describe()["engine"] == engine
        return engine

    async def connect(self, message: Any, params: Any, options: Any) -> None:
        self.told[options.connection_id] = options.connection.client.engine


@asynccontextmanager
async def staged() -> AsyncIterator[tuple[Stage, dict[str, ClientConnection], Any]]:
    """The stage, clients over sockets by what they are, and the one in memory."""
    made, place = Stage(), Uvicorn("websockets-sansio")
    made.sockets.register_connection_handler("connect", made.connect)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(made.system)
        _, port = await place.serve(made.sockets.asgi)
        stack.push_async_callback(place.close)
        picows, websockets = [address for each in made.sockets.websocket.engines if (address := each.address())]
        urls = {
            "picows": f"ws://127.0.0.1:{picows[1]}/ws",
            "websockets": f"ws://127.0.0.1:{websockets[1]}/ws",
            "asgi": f"ws://127.0.0.1:{port}/ws",
            "socketio": f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket",
        }
        clients = {name: await stack.enter_async_context(connect(url)) for name, url in urls.items()}
        packed = connect(urls["asgi"], subprotocols=[Subprotocol("mycelia.v1.msgpack")])
        clients["msgpack"] = await stack.enter_async_context(packed)
        await within(clients["msgpack"].recv())  # the greeting
        await within(clients["socketio"].recv())
        await clients["socketio"].send("40")
        assert str(await within(clients["socketio"].recv())).startswith("40{")
        memory = await stack.enter_async_context(create_mock_websocket_client(made.system))
        await memory.connect("ws://localhost/ws")
        await until(lambda: made.sockets.websocket.get_connection_count() == 6)
        yield made, clients, memory


async def test_each_connection_tells_its_engine() -> None:
    async with staged() as (stage, clients, memory):
        for name in ("picows", "websockets", "asgi"):
            await clients[name].send('{"path": "app://who"}')
            assert json.loads(await within(clients[name].recv()))["data"] == name
        assert await memory.request("app://who", None) == "memory"
        await clients["socketio"].send('420["app://who"]')
        assert "socketio" in str(await within(clients["socketio"].recv()))
        engines = Counter(stage.told.values())
        assert engines == {"picows": 1, "websockets": 1, "asgi": 2, "memory": 1, "socketio": 1}
        chosen = await stage.sockets.websocket.broadcast(
            {"event": "only", "data": 1}, filter=lambda connection: connection.client.engine == "asgi"
        )
        assert chosen.written == 2
        assert "only" in str(await within(clients["asgi"].recv()))


async def test_a_broadcast_is_encoded_once_for_each_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: Counter[str] = Counter()
    inside: list[str] = []
    for codec in (JsonCodec, MsgpackCodec, SocketioCodec):
        monkeypatch.setattr(codec, "encode_value", counting(codec.encode_value, encoded, inside))
    async with staged() as (stage, clients, memory):
        encoded.clear()
        result = await stage.sockets.websocket.broadcast({"event": "said", "data": {"text": "hello"}})
        assert (result.written, result.queued, result.dropped) == (6, 0, 0)
        assert encoded == {"JsonCodec": 1, "MsgpackCodec": 1, "SocketioCodec": 1}
        said = {"event": "said", "data": {"text": "hello"}}
        for name in ("picows", "websockets", "asgi"):
            assert json.loads(await within(clients[name].recv())) == said
        assert msgspec.msgpack.decode(await within(clients["msgpack"].recv(decode=False))) == said
        assert json.loads(str(await within(clients["socketio"].recv()))[2:]) == ["said", {"text": "hello"}]
        assert await memory.receive_event("said") == said


def counting(
    encode: Callable[[Any, Any], bytes], counts: Counter[str], inside: list[str]
) -> Callable[[Any, Any], bytes]:
    """What encodes, and counts it; one codec may use another, which does not count."""

    def count(self: Any, value: Any) -> bytes:
        if not inside:
            counts[type(self).__name__] += 1
        inside.append("")
        try:
            return encode(self, value)
        finally:
            inside.pop()

    return count


async def test_what_a_client_says_before_its_goodbye_is_handled_and_disconnect_comes_after() -> None:
    gate, heard = asyncio.Event(), list[tuple[str, Any]]()

    async def note(message: Any, params: Any, options: Any) -> None:
        await gate.wait()
        heard.append((options.connection.client.engine, message.body))

    def disconnect(message: Any, params: Any, options: Any) -> None:
        heard.append((options.connection.client.engine, "gone"))

    async with staged() as (stage, clients, memory):
        stage.routes.register_route("app://note", note, expose=True)
        stage.sockets.register_connection_handler("disconnect", disconnect)
        for name in ("picows", "websockets", "asgi"):
            for number in (1, 2):
                await clients[name].send(json.dumps({"path": "app://note", "body": number}))
            await clients[name].close()
        for packet in ('42["app://note",1]', '42["app://note",2]', "41"):
            await clients["socketio"].send(packet)
        for number in (1, 2):
            await memory.notify("app://note", number)
        await memory.disconnect()
        await until(lambda: stage.sockets.websocket.get_connection_count() == 1)  # that of msgpack
        assert heard == []
        gate.set()
        await until(lambda: len(heard) == 15)
        for name in ("picows", "websockets", "asgi", "socketio", "memory"):
            assert [said for engine, said in heard if engine == name] == [1, 2, "gone"]


class ByCookie(AuthenticationBackend):
    """Middleware of the host's that knows who somebody is."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.cookies.get("who")
        return None if name is None else (AuthCredentials(), SimpleUser(name))


async def test_the_user_that_a_host_knows_is_in_reach_on_every_endpoint() -> None:
    """Of a session over HTTP it is who opened it."""
    system, place = MessageSystem("main"), Uvicorn("websockets-sansio")
    served = {"asgi": "/ws", "socketio": "/socket.io", "sockjs": "/sockjs"}
    endpoints = [{"type": kind, "path": path} for kind, path in served.items()]
    sockets = WebSocketSubsystem("websocket", ms=system, config={"websocket": endpoints})
    middleware = [Middleware(AuthenticationMiddleware, backend=ByCookie())]
    host = Starlette(routes=[Mount("/live", sockets.asgi)], middleware=middleware)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(system)
        _, port = await place.serve(host)
        stack.push_async_callback(place.close)
        for path in ("/ws", "/socket.io/?EIO=4&transport=websocket", "/sockjs/websocket"):
            url, cookie = f"ws://127.0.0.1:{port}/live{path}", {"Cookie": f"who={path[1:5]}"}
            client = await stack.enter_async_context(connect(url, additional_headers=cookie))
            await client.send("40")
        polling = f"http://127.0.0.1:{port}/live/socket.io/?EIO=4&transport=polling"
        async with httpx.AsyncClient(trust_env=False) as http:
            opened = await http.get(polling, headers={"Cookie": "who=poll"})
            answer = await http.post(f"{polling}&sid={json.loads(opened.text[1:])['sid']}", content="40")
            assert answer.status_code == 200
        await until(lambda: sockets.websocket.get_connection_count() == 4)
        connections = sockets.websocket.get_all_connections()
        users = {(each.client.engine, cast(Any, each.socket)["user"].display_name) for each in connections}
        assert users == {("asgi", "ws"), ("socketio", "sock"), ("sockjs", "sock"), ("socketio", "poll")}
