"""The founding design, from a frame to a message and back: requirements 60 to 70."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mycelia import HandlerError, Message
from tests.seed.stage import Stage, each_engine, serving


def users(stage: Stage) -> None:
    @stage.app.route("app://get/{id}", expose=True)
    async def get_user(message: Any, params: Any, options: Any) -> dict[str, Any]:
        stage.note("message", message)
        return {"success": True, "data": {"id": params["id"], "name": "Ada"}}


FRAME = {
    "path": "app://get/{id}",
    "body": {"id": "123"},
    "correlationId": "corr-1",
    "metadata": {"traceId": "trace-1", "headers": {"x": "y"}},
}


@each_engine
async def test_the_frame_of_the_founding_design(engine: str) -> None:
    async with serving(users, engine=engine) as stage, stage.client() as client:
        answer = await client.send(FRAME)
        assert answer["data"] == {"id": "123", "name": "Ada"} and answer["correlationId"] == "corr-1"


@pytest.mark.parametrize(
    ("body", "filled"), [({"id": "a b"}, "a b"), ({"id": 7}, "7"), ({"id": True}, "true"), ({"id": "%2F"}, "%2F")]
)
async def test_placeholders_are_filled_from_the_body(body: Any, filled: str) -> None:
    async with serving(users) as stage, stage.client() as client:
        assert (await client.request("app://get/{id}", body))["id"] == filled


@pytest.mark.parametrize(
    "body", [None, {}, {"id": ""}, {"id": "a/b"}, {"id": ".."}, {"id": "a\\b"}, {"id": {}}, {"id": None}]
)
async def test_a_placeholder_that_cannot_be_filled_is_an_invalid_path(body: Any) -> None:
    async with serving(users) as stage, stage.client() as client:
        with pytest.raises(HandlerError) as caught:
            await client.request("app://get/{id}", body)
        assert caught.value.code == "INVALID_PATH"


async def test_path_body_and_metadata_arrive_in_the_message() -> None:
    async with serving(users) as stage, stage.client() as client:
        await client.send(FRAME)
        [message] = await stage.sees("message")
        assert isinstance(message, Message)
        assert (message.path, message.body) == ("app://get/123", {"id": "123"})
        assert message.metadata.trace_id == "trace-1" and message.metadata.correlation_id == "corr-1"
        assert message.metadata.untrusted == {"headers": {"x": "y"}}


@each_engine
async def test_the_message_says_which_connection_and_client_it_came_from(engine: str) -> None:
    async with serving(users, engine=engine) as stage, stage.client(headers={"User-Agent": "test/1"}) as client:
        await client.send(FRAME)
        [message] = await stage.sees("message")
        metadata, connection = message.metadata, stage.only()
        assert metadata.connection_id == connection.id
        assert metadata.client is connection.client
        assert metadata.client.remote_address == "127.0.0.1"
        assert metadata.client.header("user-agent") == "test/1" and metadata.client.engine == engine
        assert (metadata.caller.kind, metadata.caller.name) == ("client", connection.id)


async def test_it_goes_through_the_router_of_the_system() -> None:
    async with serving(users) as stage, stage.client() as client:
        for path in ("nowhere://get/1", "app://nothing", "app://get"):
            with pytest.raises(HandlerError) as caught:
                await client.request(path)
            assert caught.value.code == "NOT_FOUND"
        stage.app.register_route("app://nothing", lambda: "now there is something", expose=True)
        assert await client.request("app://nothing") == "now there is something"


async def test_a_handler_need_not_know_who_asks() -> None:
    async with serving(users) as stage, stage.client() as client:
        theirs = await client.request("app://get/5")
        ours = await stage.system.send(Message("app://get/5"))
        assert theirs == ours == {"id": "5", "name": "Ada"}


async def test_the_result_is_wrapped() -> None:
    async with serving(users) as stage, stage.client() as client:
        answer = await client.send({"path": "app://echo", "body": {"a": 1}})
        assert set(answer) == {"success", "data", "correlationId", "error", "metadata"}
        assert (answer["success"], answer["data"], answer["error"]) == (True, {"a": 1}, None)


async def test_the_result_goes_to_the_asking_connection_only() -> None:
    async with serving(users) as stage, stage.client() as client, stage.client() as other:
        await client.request("app://echo", "mine")
        await stage.facet.broadcast({"event": "end"})
        assert await other.receive() == {"event": "end"}


@each_engine
@pytest.mark.parametrize("given", ["text", 7, 0, 1.5, True, False, None, "", [1, {"a": None}], {"k": []}])
async def test_correlation_ids_of_any_kind_are_echoed(engine: str, given: Any) -> None:
    async with serving(users, engine=engine) as stage, stage.client() as client:
        await client.send_raw(json.dumps({"path": "app://echo", "correlationId": given}))
        answer = await client.receive()
        assert answer["correlationId"] == given and type(answer["correlationId"]) is type(given)


async def test_handler_then_route_then_default_path_then_not_found() -> None:
    async with serving(users) as stage, stage.client() as client:
        with pytest.raises(HandlerError) as caught:
            await client.request("chat://send", "hi")
        assert caught.value.code == "NOT_FOUND"
        stage.sockets.register_route("websocket://message", lambda message: ["default", message.body])
        whole = await client.send({"path": "chat://send", "body": "hi", "correlationId": 1})
        assert whole["data"][0] == "default"
        envelope = whole["data"][1]
        assert (envelope["path"], envelope["body"], envelope["correlationId"]) == ("chat://send", "hi", 1)
        assert await client.request("app://echo", "route") == "route"
        stage.facet.register_message_handler("chat://send", lambda message: "handler")
        assert await client.request("chat://send") == "handler"


async def test_correlation_id_trace_id_headers_and_body_are_optional() -> None:
    async with serving(users) as stage, stage.client() as client:
        await client.send_raw('{"path": "app://echo"}')
        answer = await client.receive()
        assert answer["success"] is True and answer["data"] is None and answer["correlationId"] is None
        assert answer["metadata"]["traceId"]
