"""Every code example of the founding design, in Python, word for word: requirements 109 to 113."""

from __future__ import annotations

from typing import Any

import pytest

from mycelia import Message, MessageSystem
from mycelia.protocol.http.request import HttpReply
from mycelia.testing import HandshakeRefused, MockWebSocketClient, create_mock_websocket_client
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.engine_registry import load_engine
from mycelia.websocket import WebSocketSubsystem
from tests.integration.harness import until


class AnyInteger:
    """Equals every whole number."""

    def __eq__(self, other: object) -> bool:
        return type(other) is int

    def __hash__(self) -> int:
        return 0


ANY_INTEGER = AnyInteger()


async def started(**config: Any) -> tuple[MessageSystem, WebSocketSubsystem]:
    message_system = MessageSystem("main")
    await message_system.bootstrap()
    websocket_subsystem = WebSocketSubsystem(
        "websocket",
        {
            "ms": message_system,
            "config": {"websocket": {"type": "ws", "host": "127.0.0.1", "port": 0, "path": "/ws"}, **config},
        },
    )
    await websocket_subsystem.build()
    await websocket_subsystem.websocket.start()
    return message_system, websocket_subsystem


def url(subsystem: WebSocketSubsystem) -> str:
    return f"ws://127.0.0.1:{subsystem.websocket.get_port()}/ws"


async def test_basic_setup(free_port: int) -> None:
    message_system = MessageSystem("main")
    await message_system.bootstrap()

    websocket_subsystem = WebSocketSubsystem(
        "websocket",
        {
            "ms": message_system,
            "config": {"websocket": {"type": "ws", "port": free_port, "path": "/ws"}},
        },
    )

    await websocket_subsystem.build()
    await websocket_subsystem.websocket.start()

    assert websocket_subsystem.websocket.get_address() == ("0.0.0.0", free_port)
    client = await create_mock_websocket_client().connect(f"ws://127.0.0.1:{free_port}/ws")
    await client.disconnect()
    await message_system.dispose()


async def test_the_whole_configuration(free_port: int) -> None:
    message_system = MessageSystem("main")
    WebSocketSubsystem(
        "websocket",
        {
            "ms": message_system,
            "config": {
                "websocket": {
                    "type": "ws",
                    "port": free_port,
                    "host": "0.0.0.0",
                    "path": "/ws",
                    "options": {"perMessageDeflate": True, "maxPayload": 1024 * 1024, "clientTracking": True},
                },
                "connection": {
                    "maxConnections": 1000,
                    "connectionTimeout": 30000,
                    "pingInterval": 25000,
                    "pingTimeout": 5000,
                    "generateConnectionId": lambda socket: "uuid-v4",
                },
                "routing": {
                    "defaultPath": "websocket://message",
                    "enableBroadcast": True,
                    "enableDirectSend": True,
                    "transformIncoming": lambda ws_message: ws_message,
                    "transformOutgoing": lambda mycelia_result: mycelia_result,
                },
            },
        },
    )
    async with message_system, create_mock_websocket_client() as client:
        await client.connect(f"ws://127.0.0.1:{free_port}/ws")
        assert (await client.send({"path": "test://handler"}))["error"]["code"] == "NOT_FOUND"


async def test_message_handler() -> None:
    message_system, websocket_subsystem = await started()

    async def handle(message: Any, params: Any, options: Any) -> dict[str, Any]:
        path = message.body["path"]
        connection_id = options.connection_id
        assert websocket_subsystem.websocket.get_connection(connection_id) is options.connection
        if path == "chat://send":
            return {"success": True, "data": {"messageId": "msg-123"}}
        return {"success": False, "error": "Unknown path"}

    websocket_subsystem.register_route("websocket://message", handle)

    async with create_mock_websocket_client() as client:
        await client.connect(url(websocket_subsystem))
        assert (await client.send({"path": "chat://send"}))["data"] == {"messageId": "msg-123"}
        other = await client.send({"path": "chat://other"})
        assert (other["success"], other["error"]["message"]) == (False, "Unknown path")
    await message_system.dispose()


async def test_broadcasting() -> None:
    message_system, websocket_subsystem = await started()
    one, two = create_mock_websocket_client(), create_mock_websocket_client()
    async with one, two:
        await one.connect(url(websocket_subsystem))
        websocket_subsystem.websocket.get_all_connections()[0].metadata["userId"] = "user-123"
        await two.connect(url(websocket_subsystem))

        await websocket_subsystem.websocket.broadcast(
            {"event": "system-notification", "data": {"message": "System maintenance scheduled"}}
        )
        await websocket_subsystem.websocket.broadcast(
            {"event": "user-message", "data": {"text": "hello"}},
            lambda connection: connection.metadata.get("userId") == "user-123",
        )
        await message_system.send(
            Message(
                "websocket://broadcast",
                {"event": "notification", "data": {"text": "again"}, "filter": {"userId": "user-123"}},
            )
        )
        await message_system.send(
            Message(
                "websocket://broadcast",
                {"event": "user-updated", "data": {"userId": "123", "name": "John"}},
            )
        )
        assert await _events(one) == ["system-notification", "user-message", "notification", "user-updated"]
        assert await _events(two) == ["system-notification", "user-updated"]
    await message_system.dispose()


async def _events(client: MockWebSocketClient) -> list[str]:
    """What came until the last of the example's events."""
    names: list[str] = []
    while names[-1:] != ["user-updated"]:
        names.append((await client.receive_event())["event"])
    return names


@pytest.mark.parametrize("how", ["disconnect", "abort"])
async def test_connection_lifecycle(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    message_system, websocket_subsystem = await started()
    resources: dict[str, str] = {}

    @websocket_subsystem.route("websocket://connect")
    async def connect(message: Any, params: Any, options: Any) -> dict[str, Any]:
        connection = options.connection
        print(f"Client connected: {connection.id}")
        resources[connection.id] = "something"
        await websocket_subsystem.websocket.send(
            connection.id, {"event": "welcome", "data": {"message": "Connected to Mycelia WebSocket server"}}
        )
        return {"success": True}

    @websocket_subsystem.route("websocket://disconnect")
    async def disconnect(message: Any, params: Any, options: Any) -> dict[str, Any]:
        connection = options.connection
        print(f"Client disconnected: {connection.id}")
        del resources[connection.id]
        return {"success": True}

    async with create_mock_websocket_client() as client:
        await client.connect(url(websocket_subsystem))
        welcome = await client.receive_event("welcome")
        assert welcome["data"] == {"message": "Connected to Mycelia WebSocket server"}
        [identity] = resources
        if how == "abort":
            client.abort()
    await until(lambda: not resources)
    await message_system.dispose()
    assert capsys.readouterr().out.splitlines() == [
        f"Client connected: {identity}",
        f"Client disconnected: {identity}",
    ]


async def test_authentication() -> None:
    message_system, websocket_subsystem = await started()

    async def validate_token(token: str | None) -> dict[str, Any] | None:
        return {"id": "user-123", "permissions": ["chat:write"]} if token == "right" else None

    @websocket_subsystem.route("websocket://connect")
    async def connect(message: Any, params: Any, options: Any) -> dict[str, Any]:
        user = await validate_token(message.body["token"])
        if user is None:
            return {"success": False}
        options.connection.metadata["userId"] = user["id"]
        options.connection.metadata["permissions"] = user["permissions"]
        return {"success": True}

    async with create_mock_websocket_client() as client:
        await client.connect(url(websocket_subsystem), token="wrong")
        assert await client.wait_closed() == 4401
    async with create_mock_websocket_client() as client:
        await client.connect(url(websocket_subsystem), token="right")
        facet = websocket_subsystem.websocket
        await until(lambda: facet.get_connection_count() == 1)
        assert facet.get_all_connections()[0].metadata["userId"] == "user-123"
    await message_system.dispose()


async def test_authorization() -> None:
    message_system, websocket_subsystem = await started()

    def has_permission(permissions: list[str] | None, required: str) -> bool:
        return required in (permissions or [])

    @websocket_subsystem.route("websocket://message")
    async def message(message: Any, params: Any, options: Any) -> dict[str, Any]:
        connection = options.connection
        required_permission = message.body["body"]["requiredPermission"]
        if not has_permission(connection.metadata.get("permissions"), required_permission):
            return {"success": False, "error": "Unauthorized"}
        return {"success": True, "data": "processed"}

    async with create_mock_websocket_client() as client:
        await client.connect(url(websocket_subsystem))
        websocket_subsystem.websocket.get_all_connections()[0].metadata["permissions"] = ["chat:write"]
        allowed = await client.send({"path": "a://b", "body": {"requiredPermission": "chat:write"}})
        refused = await client.send({"path": "a://b", "body": {"requiredPermission": "admin"}})
        assert allowed["data"] == "processed" and refused["error"]["message"] == "Unauthorized"
    await message_system.dispose()


async def test_route_registration_and_message_format() -> None:
    message_system, websocket_subsystem = await started()
    left: list[str] = []

    async def on_message(message: Any, params: Any, options: Any) -> dict[str, Any]:
        result = [message.body["path"], message.body["body"], options.connection_id in left]
        return {"success": True, "data": result}

    async def on_connect(message: Any, params: Any, options: Any) -> dict[str, Any]:
        return {"success": message.body["remoteAddress"] == "127.0.0.1"}

    async def on_disconnect(message: Any, params: Any, options: Any) -> dict[str, Any]:
        left.append(options.connection_id)
        return {"success": True}

    websocket_subsystem.register_route("websocket://message", on_message)
    websocket_subsystem.register_route("websocket://connect", on_connect)
    websocket_subsystem.register_route("websocket://disconnect", on_disconnect)

    async with create_mock_websocket_client() as client:
        await client.connect(url(websocket_subsystem))
        answer = await client.send(
            {
                "path": "mycelia://path/to/handler",
                "body": {"key": "value"},
                "correlationId": "optional-correlation-id",
                "metadata": {"traceId": "optional-trace-id", "headers": {"a": "b"}},
            }
        )
        assert answer.pop("metadata") == {"traceId": "optional-trace-id", "timestamp": ANY_INTEGER}
        assert answer == {
            "success": True,
            "data": ["mycelia://path/to/handler", {"key": "value"}, False],
            "correlationId": "optional-correlation-id",
            "error": None,
        }
    await until(lambda: left)
    await message_system.dispose()


async def test_error_response_format() -> None:
    message_system, websocket_subsystem = await started()
    error = {"code": "WEBSOCKET_ERROR", "message": "Connection timeout", "details": {"after": 5}}
    websocket_subsystem.websocket.register_message_handler(
        "test://fails", lambda message: {"success": False, "error": error}
    )
    async with create_mock_websocket_client() as client:
        await client.connect(url(websocket_subsystem))
        answer = await client.send({"path": "test://fails", "correlationId": "corr-1"})
        assert (answer["success"], answer["correlationId"]) == (False, "corr-1")
        assert answer["error"] == {**error, "retryable": False}
    await message_system.dispose()


async def test_mock_client() -> None:
    message_system, websocket_subsystem = await started()
    websocket_subsystem.websocket.register_message_handler(
        "test://handler", lambda message: {"success": True, "data": message.body}
    )

    mock_client = create_mock_websocket_client()
    await mock_client.connect(url(websocket_subsystem))
    response = await mock_client.send({"path": "test://handler", "body": {"data": "test"}})
    await mock_client.disconnect()

    assert response["success"] is True and response["data"] == {"data": "test"}
    await message_system.dispose()


async def test_adapter() -> None:
    """`start(options)`, `stop()`, `on(event, handler)`: an engine by itself, without a subsystem."""
    engine = load_engine("ws")()
    engine.on("admit", lambda request: HttpReply(418, b"a teapot\n"))
    await engine.start(EngineOptions(host="127.0.0.1", port=0))
    address = engine.address()
    assert address is not None
    with pytest.raises(HandshakeRefused, match="418"):
        await create_mock_websocket_client().connect(f"ws://127.0.0.1:{address[1]}/")
    await engine.stop()
