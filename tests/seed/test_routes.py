"""The founding design, routes and handlers: requirements 76 to 83."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mycelia import HandlerError, RouteError
from mycelia.websocket import WebSocketConnection
from tests.seed.stage import Stage, each_engine, serving


async def test_an_application_takes_over_websocket_message() -> None:
    async with serving() as stage, stage.client() as client:
        with pytest.raises(HandlerError):
            await client.request("anything://at/all")

        @stage.sockets.route("websocket://message")
        async def message(message: Any, params: Any, options: Any) -> dict[str, Any]:
            return {"success": True, "data": message.body["path"]}

        assert await client.request("anything://at/all") == "anything://at/all"
        with pytest.raises(RouteError):
            stage.sockets.register_route("websocket://message", message)


@each_engine
async def test_an_application_takes_over_websocket_connect(engine: str) -> None:
    async with (
        serving(lambda s: s.record("connect"), engine=engine) as stage,
        stage.client("?a=1", headers={"X-Y": "z"}),
    ):
        [body] = await stage.sees("connect")
        assert body["query"] == {"a": "1"} and body["headers"]["x-y"] == "z"
        assert body["remoteAddress"] == "127.0.0.1" and body["url"] == "/ws?a=1" and body["token"] is None


@each_engine
async def test_an_application_takes_over_websocket_disconnect(engine: str) -> None:
    async with serving(lambda s: s.record("disconnect"), engine=engine) as stage:
        async with stage.client() as client:
            identity = stage.only().id
            await client.disconnect(1000, "bye")
        [body] = await stage.sees("disconnect")
        assert body == {"connectionId": identity, "code": 1000, "reason": "bye", "accepted": True}


@each_engine
async def test_an_application_takes_over_websocket_error(engine: str) -> None:
    async with serving(lambda s: s.record("error"), engine=engine) as stage:
        async with stage.client() as client:
            identity = stage.only().id
            client.abort()
            [body] = await stage.sees("error")
        assert (body["code"], body["closeCode"]) == ("WEBSOCKET_ERROR", 1006)
        assert body["connectionId"] == identity and body["message"]


async def test_a_handler_gets_message_params_and_options() -> None:
    def setup(stage: Stage) -> None:
        @stage.app.route("app://item/{id}", expose=True)
        async def item(message: Any, params: Any, options: Any) -> Any:
            return [message.path, message.body, dict(params), options.caller.kind]

    async with serving(setup) as stage, stage.client() as client:
        assert await client.request("app://item/5", "b") == ["app://item/5", "b", {"id": "5"}, "client"]


class Rename(msgspec.Struct):
    name: str


async def test_a_handler_may_ask_for_only_what_it_needs_typed() -> None:
    def setup(stage: Stage) -> None:
        @stage.app.route("app://rename/{id}", expose=True)
        async def rename(id: int, body: Rename) -> dict[str, Any]:
            return {"id": id, "name": body.name}

    async with serving(setup) as stage, stage.client() as client:
        assert await client.request("app://rename/7", {"name": "Ada"}) == {"id": 7, "name": "Ada"}
        for path, body, code in [
            ("app://rename/x", {"name": "Ada"}, "INVALID_PATH"),
            ("app://rename/7", {"name": 1}, "INVALID_BODY"),
        ]:
            with pytest.raises(HandlerError) as caught:
                await client.request(path, body)
            assert caught.value.code == code


@each_engine
async def test_options_hold_the_connection_and_its_id(engine: str) -> None:
    def setup(stage: Stage) -> None:
        @stage.app.route("app://me", expose=True)
        async def me(message: Any, params: Any, options: Any) -> list[str]:
            connection: WebSocketConnection = options.connection
            assert stage.facet.get_connection(options.connection_id) is connection
            return [options.connectionId, options["connectionId"], connection.id]

    async with serving(setup, engine=engine) as stage, stage.client() as client:
        assert await client.request("app://me") == [stage.only().id] * 3


async def test_the_body_is_the_frames_data_and_for_connect_the_handshake() -> None:
    async with serving(lambda s: s.record("connect")) as stage, stage.client() as client:
        assert await client.request("app://echo", {"deep": [1, {"er": None}]}) == {"deep": [1, {"er": None}]}
        [body] = await stage.sees("connect")
        assert set(body) == {"token", "query", "headers", "remoteAddress", "url"}


@pytest.mark.parametrize(
    ("returned", "data"),
    [
        ({"success": True, "data": 1}, 1),
        ({"success": True}, None),
        (5, 5),
        (None, None),
        ([], []),
        ({"name": "x"}, {"name": "x"}),
        ({"success": True, "other": 1}, {"success": True, "other": 1}),
        ({"success": "yes", "data": 1}, {"success": "yes", "data": 1}),
    ],
)
async def test_handlers_return_success_and_data_or_a_bare_value(returned: Any, data: Any) -> None:
    async with serving() as stage, stage.client() as client:
        stage.app.register_route("app://it", lambda: returned, expose=True)
        assert await client.request("app://it") == data
