"""The founding design, the HTTP subsystem that WebSockets are compared with: requirements 2 and 122."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

from mycelia import BaseSubsystem, ConfigError, Message, MessageSystem
from mycelia.server import ServerContract, ServerSubsystem, use_server
from mycelia.testing import create_mock_websocket_client
from mycelia.websocket import WebSocketSubsystem, use_websockets


class Rename(msgspec.Struct):
    name: str


@asynccontextmanager
async def serving(system: MessageSystem) -> AsyncIterator[httpx.AsyncClient]:
    server = system.find("server")
    assert isinstance(server, ServerSubsystem)
    async with system:
        base = f"http://127.0.0.1:{server.server.get_port()}"
        async with httpx.AsyncClient(base_url=base, timeout=10, trust_env=False) as client:
            yield client


def place() -> dict[str, Any]:
    return {"server": {"type": "uvicorn", "host": "127.0.0.1", "port": 0}}


async def test_both_subsystems_follow_one_pattern() -> None:
    system = MessageSystem("main")
    server = ServerSubsystem("server", ms=system, config=place())
    sockets = WebSocketSubsystem("websocket", ms=system)
    with pytest.raises(ConfigError, match="expected 'server'"):
        ServerSubsystem("http", ms=MessageSystem("other"))
    for subsystem in (server, sockets):
        await subsystem.build()
    kinds = {"hierarchy", "router", "messages", "processor", "listeners", "statistics", "health"}
    assert all(server.find(kind) is not None and sockets.find(kind) is not None for kind in kinds)
    for declared in (use_server, use_websockets):
        assert declared.requires == ("router", "messages") and declared.contract is not None
        assert (declared.overwrite, declared.attach) == (False, True)
    assert server.find("server") is server.server and sockets.find("websocket") is sockets.websocket
    shared = {"start", "stop", "is_running", "is_accepting", "drain", "get_address", "get_port", "errors", "snapshot"}
    assert all(hasattr(server.server, name) and hasattr(sockets.websocket, name) for name in shared)
    assert {name for name in vars(ServerContract) if not name.startswith("_")} <= set(dir(server.server))
    await system.dispose()
    assert server.find("server") is None


async def test_setup_and_routes_as_the_founding_design_writes_them() -> None:
    message_system = MessageSystem("main")
    await message_system.bootstrap()
    server_subsystem = ServerSubsystem(
        "server", {"ms": message_system, "config": {"server": {"type": "uvicorn", "host": "127.0.0.1", "port": 0}}}
    )
    await server_subsystem.build()
    await server_subsystem.server.start()

    async def handler(message: Any, params: Any, options: Any) -> Any:
        return {"success": True, "data": {"id": params["id"], "asked by": options.caller.kind, "body": message.body}}

    server_subsystem.register_route("server://user/{id}", handler)
    server_subsystem.register_mycelia_route("GET", "/users/{id}", "server://user/{id}")
    url = f"http://127.0.0.1:{server_subsystem.server.get_port()}/users/7"
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = (await client.get(url)).json()
    assert answer["data"] == {"id": "7", "asked by": "client", "body": {"id": "7"}}
    await message_system.dispose()


async def test_requests_become_messages_and_every_refusal_has_the_envelope() -> None:
    system = MessageSystem("main")
    users = BaseSubsystem("user", ms=system)
    server = ServerSubsystem("server", ms=system, config=place())

    @users.route("user://rename/{id}")
    async def rename(id: int, body: Rename) -> dict[str, Any]:
        return {"id": id, "name": body.name}

    @users.route("user://fail")
    async def fail() -> None:
        raise ValueError("a secret")

    @users.route("user://guarded", requires={"user:write"})
    async def guarded() -> None:
        pass

    server.register_mycelia_route("PUT", "/users/{id}", "user://rename/{id}")
    server.register_mycelia_route("GET", "/fail", "user://fail")
    server.register_mycelia_route("GET", "/guarded", "user://guarded")
    async with serving(system) as client:
        answer = await client.put("/users/7", json={"name": "Ada"})
        assert (answer.status_code, answer.json()["data"]) == (200, {"id": 7, "name": "Ada"})
        for method, path, body, status, code in (
            ("GET", "/nowhere", None, 404, "NOT_FOUND"),
            ("GET", "/fail", None, 500, "HANDLER_ERROR"),
            ("PUT", "/users/7", {"name": 7}, 422, "INVALID_BODY"),
            ("PUT", "/users/x", {"name": "Ada"}, 422, "INVALID_PATH"),
            ("GET", "/guarded", None, 401, "UNAUTHORIZED"),
        ):
            answer = await client.request(method, path, json=body)
            envelope = answer.json()
            assert (answer.status_code, envelope["success"], envelope["error"]["code"]) == (status, False, code)
            assert set(envelope["error"]) == {"code", "message", "details", "retryable"}
            assert envelope["metadata"]["traceId"] == answer.headers["x-trace-id"]
            assert "secret" not in answer.text


async def test_one_handler_answers_http_websockets_and_subsystems() -> None:
    system = MessageSystem("main")
    users = BaseSubsystem("user", ms=system)
    WebSocketSubsystem("websocket", ms=system, config={"websocket": {"type": "asgi", "path": "/ws"}})
    server = ServerSubsystem("server", ms=system, config=place())

    @users.route("user://get/{id}", expose=True)
    async def get(id: int) -> dict[str, Any]:
        return {"id": id}

    server.register_mycelia_route("GET", "/users/{id}", "user://get/{id}")
    async with serving(system) as client, create_mock_websocket_client() as socket:
        assert await system.send(Message("user://get/7")) == {"id": 7}
        assert (await client.get("/users/7")).json()["data"] == {"id": 7}
        await socket.connect(f"{str(client.base_url).replace('http', 'ws').rstrip('/')}/ws")
        assert await socket.request("user://get/{id}", {"id": 7}) == {"id": 7}


async def test_operations_are_messages_inside_the_system() -> None:
    system = MessageSystem("main")
    users = BaseSubsystem("user", ms=system)
    ServerSubsystem("server", ms=system, config=place())
    users.register_route("user://list", lambda: ["Ada"])
    async with serving(system) as client:
        body = {"method": "GET", "path": "/users", "target": "user://list"}
        await system.send(Message("server://route/register", body))
        assert (await client.get("/users")).json()["data"] == ["Ada"]
        assert (await system.send(Message("server://health")))["healthy"] is True
        assert await system.send(Message("server://ready")) == {"ready": True}
        assert await system.send(Message("server://live")) == {"live": True}
