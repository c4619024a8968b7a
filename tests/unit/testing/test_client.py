from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mycelia import BaseSubsystem, HandlerError, MessageSystem, Unauthorized
from mycelia.errors import EngineError
from mycelia.kernel.messages.context import Options
from mycelia.kernel.messages.message import Message
from mycelia.testing import (
    ConnectionEnded,
    HandshakeRefused,
    MockWebSocketClient,
    NothingArrived,
    create_mock_websocket_client,
)
from mycelia.websocket import WebSocketFacet, WebSocketSubsystem
from tests.support.links import link_of

SUBPROTOCOLS = [None, "mycelia.v1.json", "mycelia.v1.msgpack"]
pytestmark = [pytest.mark.parametrize("kind", ["memory", "picows"])]


class Stand:
    """A system that serves, and clients for it."""

    def __init__(self, system: MessageSystem, sockets: WebSocketSubsystem, kind: str) -> None:
        self.system, self.sockets, self.kind = system, sockets, kind
        self.facet: WebSocketFacet = sockets.websocket

    def client(self, **options: Any) -> MockWebSocketClient:
        return create_mock_websocket_client(self.system if self.kind == "memory" else None, **options)

    def url(self, path: str = "/ws") -> str:
        return f"ws://localhost:{self.facet.get_port() or 8080}{path}"


@asynccontextmanager
async def serving(kind: str) -> AsyncIterator[Stand]:
    system = MessageSystem("main")
    test = BaseSubsystem("test", ms=system)

    @test.route("test://handler", expose=True)
    async def handler(message: Message, params: object, options: Options) -> object:
        return {"success": True, "data": message.body}

    @test.route("test://fail", expose=True)
    async def fail(message: Message, params: object, options: Options) -> object:
        return {"success": False, "error": {"code": "NO_LUCK", "message": "not today", "details": {"n": 1}}}

    @test.route("test://never", expose=True)
    async def never(message: Message, params: object, options: Options) -> None:
        await asyncio.Event().wait()

    @test.route("test://ask", expose=True)
    async def ask(path: str = "", *, body: dict[str, Any], connection: Any) -> object:
        return await connection.request(body["path"], body.get("question"), timeout=5)

    @test.route("test://leave", expose=True)
    async def leave(body: dict[str, Any], connection: Any) -> None:
        connection.close(body["code"], "as you wish")

    sockets = WebSocketSubsystem(
        "websocket", ms=system, config={"websocket": {"type": kind, "host": "127.0.0.1", "port": 0}}
    )
    async with system:
        yield Stand(system, sockets, kind)


async def test_the_example_of_the_seed(kind: str) -> None:
    async with serving(kind) as stand:
        mock_client = stand.client()
        await mock_client.connect(stand.url())
        response = await mock_client.send({"path": "test://handler", "body": {"data": "test"}})
        await mock_client.disconnect()
    assert response["success"] is True and response["data"] == {"data": "test"}
    assert response["error"] is None and response["correlationId"] is not None
    assert mock_client.close_code == 1000


@pytest.mark.parametrize("subprotocol", SUBPROTOCOLS)
async def test_every_subprotocol(kind: str, subprotocol: str | None) -> None:
    async with serving(kind) as stand, stand.client() as client:
        await client.connect(stand.url(), subprotocols=[subprotocol] if subprotocol else [])
        assert client.subprotocol == subprotocol
        if subprotocol:
            assert "connectionId" in (await client.receive_event("websocket.connected"))["data"]
        assert await client.request("test://handler", {"n": [1, None, "ü"]}) == {"n": [1, None, "ü"]}
        await stand.facet.broadcast({"event": "notice", "data": 1})
        assert await client.receive_event("notice") == {"event": "notice", "data": 1}


async def test_responses_find_their_requests(kind: str) -> None:
    async with serving(kind) as stand, stand.client() as client:
        await client.connect(stand.url())
        answers = await asyncio.gather(*(client.request("test://handler", n) for n in range(50)))
        assert answers == list(range(50))
        own = await client.send({"path": "test://handler", "correlationId": {"any": ["value"]}})
        assert own["correlationId"] == {"any": ["value"]}


async def test_a_failure_is_returned_by_send_and_raised_by_request(kind: str) -> None:
    async with serving(kind) as stand, stand.client() as client:
        await client.connect(stand.url())
        assert (await client.send({"path": "test://fail"}))["success"] is False
        with pytest.raises(HandlerError, match="not today") as caught:
            await client.request("test://fail")
        assert (caught.value.code, caught.value.details) == ("NO_LUCK", {"n": 1})


async def test_what_does_not_arrive_is_an_error_that_lists_what_did(kind: str) -> None:
    async with serving(kind) as stand, stand.client(timeout=0.05) as client:
        await client.connect(stand.url())
        await client.send_raw("this is no envelope")
        await stand.facet.broadcast({"event": "other", "data": 1})
        await stand.facet.broadcast({"anything": "else"})
        with pytest.raises(NothingArrived) as caught:
            await client.receive_event("wanted")
        text = str(caught.value)
        assert "expected the event 'wanted' within 0.05 s" in text
        assert "event 'other'" in text and "response None (INVALID_JSON)" in text and "'anything'" in text
        with pytest.raises(TimeoutError, match="a response to 'test://never'"):
            await client.send({"path": "test://never"})


async def test_events_wait_until_they_are_received(kind: str) -> None:
    async with serving(kind) as stand, stand.client() as client:
        await client.connect(stand.url())
        for name in ("a", "b", "c"):
            await stand.facet.broadcast({"event": name, "data": None})
        assert (await client.receive_event("c"))["event"] == "c"
        assert [event["event"] for event in client.events] == ["a", "b"]
        assert (await client.receive_event())["event"] == "a"
        assert (await client.receive())["event"] == "b"


async def test_raw_text_and_bytes(kind: str) -> None:
    async with serving(kind) as stand, stand.client() as client:
        await client.connect(stand.url())
        await client.send_raw('{"path": "test://handler", "body": 1, "correlationId": "x"}')
        assert (await client.receive())["data"] == 1
        await client.send_raw(b"\x00")
        assert (await client.receive())["error"]["code"] == "UNSUPPORTED_DATA"


async def test_notify_does_not_wait_and_is_not_answered(kind: str) -> None:
    async with serving(kind) as stand, stand.client() as client:
        await client.connect(stand.url())
        await client.notify("test://handler", 1)
        await client.notify({"event": "typing", "data": None})
        assert await client.request("test://handler", 2) == 2
        with pytest.raises(NothingArrived, match="not received yet: nothing"):
            await client.receive(timeout=0.01)
        with pytest.raises(ValueError, match="notify"):
            await client.send({"event": "typing"})


async def test_the_client_answers_the_server(kind: str) -> None:
    async def confirm(body: Any) -> Any:
        await asyncio.sleep(0)
        return {"answer": body}

    def refuse(body: Any) -> Any:
        raise HandlerError("no", code="DECLINED")

    async with serving(kind) as stand, stand.client() as client:
        client.on("client://confirm", confirm)
        client.on("client://refuse", refuse)
        client.on("client://break", lambda body: body["absent"])
        await client.connect(stand.url())
        asked = {"path": "client://confirm", "question": "?"}
        assert await client.request("test://ask", asked) == {"answer": "?"}
        for path, code in [
            ("client://refuse", "DECLINED"),
            ("client://break", "HANDLER_ERROR"),
            ("client://x", "NOT_FOUND"),
        ]:
            response = await client.send({"path": "test://ask", "body": {"path": path, "question": {}}})
            assert response["error"]["code"] == code


async def test_the_servers_close_ends_every_wait(kind: str) -> None:
    async with serving(kind) as stand, stand.client() as client:
        await client.connect(stand.url())
        waiting = asyncio.create_task(client.receive_event("never"))
        await client.notify("test://leave", {"code": 4410})
        assert await client.wait_closed() == 4410
        assert (client.close_code, client.close_reason, client.is_connected) == (4410, "as you wish", False)
        with pytest.raises(ConnectionEnded, match=r"the event 'never'.* closed with 4410 \(as you wish\)"):
            await waiting
        with pytest.raises(ConnectionError, match="4410"):
            await client.request("test://handler")
        await client.connect(stand.url())
        assert await client.request("test://handler", 1) == 1


async def test_a_token_and_headers_reach_connect(kind: str) -> None:
    seen: list[Any] = []

    async def connect(message: Message, params: object, options: Options) -> None:
        body: Any = message.body
        seen.append((body["token"], body["headers"].get("x-team"), body["query"]))
        if body["token"] != "right":
            raise Unauthorized("who?")

    async with serving(kind) as stand:
        stand.sockets.register_route("websocket://connect", connect)
        async with stand.client() as client:
            await client.connect(stand.url("/ws?room=1"), headers={"X-Team": "blue"}, token="right")
            assert await client.request("test://handler", 1) == 1
        async with stand.client() as client:
            await client.connect(stand.url(), token="wrong")
            assert await client.wait_closed() == 4401
    assert seen == [("right", "blue", {"room": "1"}), ("wrong", None, {})]


async def test_a_refused_handshake_shows_the_reply(kind: str) -> None:
    async with serving(kind) as stand, stand.client() as client:
        with pytest.raises(HandshakeRefused, match="expected 101, got 404") as caught:
            await client.connect(stand.url("/elsewhere"))
        assert caught.value.status == 404 and caught.value.reply.body
        with pytest.raises(HandshakeRefused, match="400"):
            await client.connect(stand.url(), subprotocols=["unknown"])
        assert not client.is_connected


async def test_abort_is_a_lost_connection_to_the_server(kind: str) -> None:
    codes: asyncio.Queue[int] = asyncio.Queue()

    async def disconnect(message: Message, params: object, options: Options) -> None:
        body: Any = message.body
        codes.put_nowait(body["code"])

    async with serving(kind) as stand, stand.client() as client:
        stand.facet.on_disconnect(disconnect)
        await client.connect(stand.url())
        client.abort()
        assert await client.wait_closed() == 1006
        assert await codes.get() == 1006


async def test_using_it_wrongly_says_what_would_be_right(kind: str) -> None:
    async with serving(kind) as stand, stand.client() as client:
        with pytest.raises(RuntimeError, match="connect"):
            await client.send({"path": "test://handler"})
        await client.connect(stand.url())
        with pytest.raises(RuntimeError, match="connected already"):
            await client.connect(stand.url())
        first = asyncio.create_task(client.send({"path": "test://never", "correlationId": 1}))
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="not answered yet"):
            await client.send({"path": "test://handler", "correlationId": 1})
        first.cancel()
        await asyncio.wait([first])


async def test_a_server_that_does_not_read_holds_nobody_up_for_ever(kind: str) -> None:
    async with serving(kind) as stand:
        client = stand.client(timeout=0.1)
        await client.connect(stand.url())
        link_of(stand.facet.get_all_connections()[0]).pause()
        with pytest.raises(NothingArrived, match="expected the server to read within"):
            for _ in range(100):
                await client.send_raw("x" * 500_000)
        await client.disconnect()
        assert not client.is_connected


async def test_a_client_whose_backlog_is_full_stops_reading(kind: str) -> None:
    async with serving(kind) as stand, stand.client(backlog=4) as client:
        await client.connect(stand.url())
        for number in range(10):
            await stand.facet.broadcast({"event": "n", "data": number})
        with pytest.raises(NothingArrived):
            await client.receive_event("other", timeout=0.05)
        assert len(client.events) == 4
        assert [(await client.receive_event())["data"] for _ in range(10)] == list(range(10))


async def test_where_to_connect_in_memory(kind: str) -> None:
    async with serving(kind) as stand:
        for target in (stand.system, stand.sockets, stand.facet):
            client = create_mock_websocket_client(target)
            if kind == "memory":
                async with client:
                    await client.connect("memory://server/ws")
                    assert await client.request("test://handler", 1) == 1
            else:
                with pytest.raises(EngineError, match="found picows"):
                    await client.connect("memory://server/ws")
        with pytest.raises(ValueError, match="needs a server"):
            await create_mock_websocket_client().connect("memory://server/ws")
    if kind == "memory":
        with pytest.raises(ConnectionRefusedError, match="is not running"):
            await create_mock_websocket_client(stand.facet).connect("memory://server/ws")
