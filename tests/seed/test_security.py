"""The founding design, security: requirements 99 to 103."""

from __future__ import annotations

import base64
import logging
from typing import Any

import pytest

from mycelia import Forbidden, HandlerError, Unauthorized
from mycelia.protocol.wire.codes import Close
from tests.seed.stage import Stage, each_engine, serving

TOKEN = "s3cret-t0ken"
BEARER = "mycelia.bearer." + base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")
WAYS: list[tuple[str, dict[str, Any]]] = [
    ("", {"token": TOKEN}),
    (f"?token={TOKEN}", {}),
    ("", {"subprotocols": ["mycelia.v1.json", BEARER]}),
]
USERS = {TOKEN: {"id": "u-1", "permissions": ["user:write"]}, "guest": {"id": "u-2", "permissions": []}}


def authenticate(stage: Stage) -> None:
    """The example of the founding design: `connect` validates the token and keeps user and permissions."""

    @stage.sockets.route("websocket://connect")
    async def connect(message: Any, params: Any, options: Any) -> dict[str, Any]:
        user = USERS.get(message.body["token"])
        if user is None:
            raise Unauthorized("no such token")
        options.connection.metadata["userId"] = user["id"]
        options.connection.metadata["permissions"] = user["permissions"]
        return {"success": True}

    @stage.app.route("app://rename", expose=True, requires={"user:write"})
    async def rename(message: Any, params: Any, options: Any) -> str:
        return f"renamed by {message.metadata.principal.id}"


@each_engine
@pytest.mark.parametrize(("query", "settings"), WAYS, ids=["authorization", "query", "subprotocol"])
async def test_connect_gets_the_token_and_nobody_else(
    engine: str, query: str, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def setup(stage: Stage) -> None:
        @stage.sockets.route("websocket://connect")
        async def connect(message: Any, params: Any, options: Any) -> None:
            stage.note("connect", message.body)

    async with serving(setup, engine=engine) as stage, stage.client(query, **settings) as client:
        [body] = await stage.sees("connect")
        assert body.pop("token") == TOKEN
        secrets = (TOKEN, BEARER)
        await client.request("app://echo")
        connection = stage.only()
        shown = repr((body, client.subprotocol, connection.metadata, connection.client.describe()))
        assert not any(secret in shown for secret in secrets)
    server_lines = [each.getMessage() for each in caplog.records if each.name.startswith("mycelia")]
    assert not any(secret in line for secret in secrets for line in server_lines)


async def test_user_and_permissions_are_kept_on_the_connection() -> None:
    async with serving(authenticate) as stage, stage.client(token=TOKEN) as client:
        await client.request("app://echo")
        assert stage.only().metadata == {"userId": "u-1", "permissions": ["user:write"]}


@each_engine
@pytest.mark.parametrize(
    ("raised", "code"), [(Unauthorized("x"), Close.NOT_AUTHENTICATED), (Forbidden("x"), Close.FORBIDDEN)]
)
async def test_a_refused_connect_closes_with_4401_or_4403(engine: str, raised: Exception, code: int) -> None:
    def setup(stage: Stage) -> None:
        @stage.sockets.route("websocket://connect")
        async def connect(message: Any, params: Any, options: Any) -> None:
            raise raised

    async with serving(setup, engine=engine) as stage, stage.client() as client:
        assert await client.wait_closed() == code
        assert client.events == [] and stage.facet.get_connection_count() == 0


@each_engine
async def test_a_route_says_which_permission_it_requires(engine: str) -> None:
    async with serving(authenticate, engine=engine) as stage:
        async with stage.client(token=TOKEN) as writer:
            assert await writer.request("app://rename") == "renamed by u-1"
        async with stage.client(token="guest") as guest:
            with pytest.raises(HandlerError) as caught:
                await guest.request("app://rename", {"requiredPermission": "none", "userId": "u-1"})
            assert caught.value.code == "FORBIDDEN"


async def test_without_a_known_caller_a_protected_route_is_unauthorized() -> None:
    async with serving() as stage, stage.client() as client:
        stage.app.register_route("app://secret", lambda: "secret", expose=True, requires={"read"})
        stage.app.register_route("app://open", lambda: "open", expose=True)
        with pytest.raises(HandlerError) as caught:
            await client.request("app://secret")
        assert caught.value.code == "UNAUTHORIZED"
        assert await client.request("app://open") == "open"


async def test_the_handler_of_websocket_message_may_check_through_the_connection() -> None:
    """The founding design's example, with the permission taken from the server's own table."""
    needed = {"admin://wipe": "admin", "note://read": "read"}

    def setup(stage: Stage) -> None:
        @stage.sockets.route("websocket://message")
        async def message(message: Any, params: Any, options: Any) -> dict[str, Any]:
            held = options.connection.metadata.get("permissions", ())
            if needed.get(message.body["path"]) not in held:
                return {"success": False, "error": "Unauthorized"}
            return {"success": True, "data": "done"}

    async with serving(setup) as stage, stage.client() as client:
        stage.only().metadata["permissions"] = ["read"]
        assert await client.request("note://read") == "done"
        answer = await client.send({"path": "admin://wipe"})
        assert answer["error"]["message"] == "Unauthorized"


@each_engine
async def test_every_path_is_private_until_it_is_exposed(engine: str) -> None:
    async with serving(engine=engine) as stage, stage.client() as client:
        stage.app.register_route("app://private", lambda: "private")
        for path in (
            "app://private",
            "app://nothing-here",
            "websocket://broadcast",
            f"websocket://send/{stage.only().id}",
            "websocket://connect",
            "websocket://message",
        ):
            answer = await client.send({"path": path, "body": {"event": "e"}})
            assert answer["error"] == {
                "code": "NOT_FOUND",
                "message": "no such path",
                "details": None,
                "retryable": False,
            }, path


async def test_a_pattern_of_the_configuration_exposes_too() -> None:
    async with serving(routing={"expose": ["app://open/*", "app://one"]}) as stage, stage.client() as client:
        for path in ("app://open/a", "app://one", "app://two"):
            stage.app.register_route(path, lambda message: message.path)
        assert await client.request("app://open/a") == "app://open/a"
        assert await client.request("app://one") == "app://one"
        assert (await client.send({"path": "app://two"}))["error"]["code"] == "NOT_FOUND"


async def test_start_up_says_what_clients_may_call(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mycelia")
    async with serving() as stage:
        stage.app.register_route("app://private", lambda: None)
    [line] = [each.getMessage() for each in caplog.records if "clients may call" in each.getMessage()]
    assert line == "clients may call: app://echo"
