"""The founding design, configuration: requirements 20 to 38."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import urlsplit

import pytest

from mycelia import ConfigError, Disabled, HandlerError, Message, MessageSystem, MyceliaError
from mycelia.protocol.wire.codes import Close
from mycelia.protocol.ws.frames import Opcode
from mycelia.realtime.config.config import load_config
from mycelia.testing import HandshakeRefused, create_mock_websocket_client
from mycelia.transports.memory.engine import MemoryEngine
from mycelia.websocket import WebSocketSubsystem
from tests.integration.harness import Client
from tests.seed.stage import PATIENCE, Stage, each_engine, serving

# The mapping of the founding design, key for key.
SEED: dict[str, Any] = {
    "websocket": {
        "type": "ws",
        "port": 8080,
        "host": "0.0.0.0",
        "path": "/ws",
        "options": {"perMessageDeflate": True, "maxPayload": 1024 * 1024, "clientTracking": True},
    },
    "connection": {
        "maxConnections": 1000,
        "connectionTimeout": 30000,
        "pingInterval": 25000,
        "pingTimeout": 5000,
        "generateConnectionId": lambda socket: "an-id",
    },
    "routing": {
        "defaultPath": "websocket://message",
        "enableBroadcast": True,
        "enableDirectSend": True,
        "transformIncoming": lambda message: message,
        "transformOutgoing": lambda result: result,
    },
}


def test_the_mapping_of_the_founding_design_loads_unchanged() -> None:
    config = load_config(SEED)
    [server] = config.websocket
    assert (server.type, server.port, server.host, server.path) == ("ws", 8080, "0.0.0.0", "/ws")
    assert (server.per_message_deflate, server.max_payload, server.client_tracking) == (True, 2**20, True)
    limits = config.connection
    assert (limits.connection_timeout, limits.ping_interval, limits.ping_timeout) == (30.0, 25.0, 5.0)
    assert limits.generate_connection_id(object()) == "an-id"


@pytest.mark.parametrize("given", [None, {}, {"websocket": {}}, {"connection": {}, "routing": {}}])
def test_every_section_is_optional_and_has_the_defaults_of_the_founding_design(given: Any) -> None:
    config = load_config(given)
    [server] = config.websocket
    assert (server.type, server.host, server.port, server.path) == ("picows", "0.0.0.0", 8080, "/ws")
    assert (server.max_payload, server.client_tracking) == (1024 * 1024, True)
    limits, routing = config.connection, config.routing
    assert (limits.max_connections, limits.connection_timeout) == (1000, 30.0)
    assert (limits.ping_interval, limits.ping_timeout) == (25.0, 5.0)
    assert routing.default_path == "websocket://message"
    assert routing.enable_broadcast and routing.enable_direct_send
    assert routing.transform_incoming is None and routing.transform_outgoing is None


def test_seconds_in_snake_case_are_the_same_as_milliseconds_in_camel_case() -> None:
    snake = load_config({"connection": {"ping_interval": 1.5}})
    assert snake.connection.ping_interval == 1.5
    assert load_config({"connection": {"pingInterval": 1500}}).connection == snake.connection


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sockets": {}}, "config.sockets: unknown section; known: websocket, connection, routing"),
        ({"websocket": {"prot": 1}}, r"websocket.prot: unknown key; known: .*port"),
        ({"connection": {"pingInterval": 1000, "ping_interval": 1}}, "connection.ping_interval: given twice"),
        ({"websocket": {"port": "8080"}}, "websocket.port: expected a whole number, got '8080'"),
        ({"websocket": {"port": 70000}}, "websocket.port: expected 0 to 65535, got 70000"),
        ({"connection": {"maxConnections": 0}}, "max_connections: expected 1 to"),
        ({"routing": {"enableBroadcast": 1}}, "routing.enableBroadcast: expected true or false, got 1"),
    ],
)
def test_a_wrong_key_or_value_raises_and_is_named(given: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        WebSocketSubsystem(config=given)


async def test_port_zero_takes_a_free_port_and_says_which() -> None:
    async with serving() as stage:
        address = stage.facet.get_address()
        assert address is not None
        assert address[0] == "127.0.0.1" and address[1] == stage.facet.get_port() != 0


@each_engine
async def test_other_paths_than_the_configured_one_are_404(engine: str) -> None:
    async with serving(engine=engine, path="/live") as stage:
        origin = stage.url.removesuffix("/ws")
        client = create_mock_websocket_client()
        with pytest.raises(HandshakeRefused, match="404"):
            await client.connect(f"{origin}/ws")
        async with client:
            await client.connect(f"{origin}/live?with=query")
            assert await client.request("app://echo", 1) == 1


async def test_options_of_the_library_pass_through_and_unknown_ones_raise() -> None:
    async with serving(engine="memory", options={"socket_bytes": 4096}) as stage:
        [engine] = stage.facet.engines
        assert isinstance(engine, MemoryEngine) and engine.socket_bytes == 4096
    system = MessageSystem("main")
    WebSocketSubsystem(ms=system, config={"websocket": {"port": 0, "options": {"warpSpeed": 9}}})
    with pytest.raises(MyceliaError, match="unknown option 'warpSpeed' for the picows engine; known: none"):
        async with system:
            pass


async def test_options_without_effect_are_accepted_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    options = {"clientTracking": False}
    with caplog.at_level(logging.WARNING, "mycelia"):
        async with serving(options=options) as stage, stage.client() as client:
            assert await client.request("app://echo", 1) == 1
    said = [record.message for record in caplog.records]
    assert any("clientTracking has no effect" in line for line in said)


@each_engine
async def test_a_message_beyond_max_payload_closes_with_1009(engine: str) -> None:
    async with serving(engine=engine, options={"maxPayload": 1000}) as stage, stage.client() as client:
        assert await client.request("app://echo", "x" * 900) == "x" * 900
        await client.send_raw("x" * 1001)
        assert await client.wait_closed() == Close.MESSAGE_TOO_BIG


@each_engine
async def test_handshakes_beyond_max_connections_are_503(engine: str) -> None:
    async with serving(engine=engine, connection={"maxConnections": 1}) as stage, stage.client():
        with pytest.raises(HandshakeRefused, match="503"):
            await create_mock_websocket_client().connect(stage.url)


@each_engine
async def test_connection_timeout_ends_a_slow_handshake(engine: str) -> None:
    async with serving(engine=engine, connection={"connectionTimeout": 100}) as stage:
        port = urlsplit(stage.url).port
        assert port is not None
        async with Client.socket(port) as client:
            await client.write(b"GET /ws HTTP/1.1\r\n")
            assert b" 408 " in await client.rest()


@each_engine
async def test_connection_timeout_ends_a_connect_handler_too(engine: str) -> None:
    def setup(stage: Stage) -> None:
        @stage.sockets.route("websocket://connect")
        async def never(message: Any, params: Any, options: Any) -> None:
            await asyncio.Event().wait()

    async with (
        serving(setup, engine=engine, connection={"connectionTimeout": 200}) as stage,
        stage.client() as client,
    ):
        assert await client.wait_closed() == Close.AUTHENTICATION_TIMEOUT


@each_engine
async def test_a_ping_goes_out_every_interval_and_a_living_client_stays(engine: str) -> None:
    async with (
        serving(engine=engine, connection={"pingInterval": 250, "pingTimeout": 1000}) as stage,
        Client.socket(stage.facet.get_port() or 0) as client,
    ):
        await client.upgrade()
        for _ in range(3):
            frame = await client.frame()
            assert frame is not None and frame.opcode == Opcode.PING
            await client.send_frame(Opcode.PONG, frame.payload)
        assert stage.only().is_open


@each_engine
async def test_a_client_that_answers_no_ping_is_dropped_with_error_then_disconnect(engine: str) -> None:
    limits = {"pingInterval": 250, "pingTimeout": 250, "closeTimeout": 100}
    async with serving(lambda s: s.record("error", "disconnect"), engine=engine, connection=limits) as stage:
        async with Client.socket(stage.facet.get_port() or 0) as client:
            client.pongs = False
            await client.upgrade()
            assert (await client.closed())[0] == Close.HEARTBEAT_LOST
            await stage.sees("disconnect")
        assert [name for name, _ in stage.seen] == ["error", "disconnect"]
        [told] = await stage.sees("error")
        assert told["closeCode"] == Close.HEARTBEAT_LOST


async def test_generate_connection_id_gets_the_handshake_and_names_the_connection() -> None:
    seen: list[Any] = []

    def generate(socket: Any) -> str:
        seen.append(socket)
        return f"client-{len(seen)}"

    async with serving(connection={"generateConnectionId": generate}) as stage, stage.client("?a=1"):
        assert stage.only().id == "client-1"
        assert seen[0].query == {"a": "1"}


async def test_a_connection_id_that_is_taken_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        serving(connection={"generateConnectionId": lambda socket: "same"}) as stage,
        stage.client() as first,
    ):
        with pytest.raises(HandshakeRefused, match="500"):
            await create_mock_websocket_client().connect(stage.url)
        assert await first.request("app://echo", 1) == 1
    assert "expected a unique id, got 'same' for a second connection" in caplog.text


async def test_default_path_gets_what_has_no_path() -> None:
    async with serving(routing={"defaultPath": "app://inbox"}) as stage, stage.client() as client:
        stage.app.register_route("app://inbox", lambda message: message.body["body"])
        assert (await client.send({"body": "no path"}))["data"] == "no path"


async def test_broadcasting_can_be_switched_off() -> None:
    async with serving(routing={"enableBroadcast": False}) as stage, stage.client():
        with pytest.raises(Disabled, match="enable_broadcast"):
            await stage.facet.broadcast({"event": "e"})
        with pytest.raises(Disabled):
            await stage.system.send(Message("websocket://broadcast", {"event": "e"}))


async def test_direct_send_can_be_switched_off() -> None:
    async with serving(routing={"enableDirectSend": False}) as stage, stage.client():
        with pytest.raises(Disabled, match="enable_direct_send"):
            await stage.facet.send(stage.only().id, {"event": "e"})
        with pytest.raises(Disabled):
            await stage.system.send(Message(f"websocket://send/{stage.only().id}", {"event": "e"}))


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_transform_incoming_sees_the_mapping_first(kind: str) -> None:
    def plain(message: dict[str, Any]) -> dict[str, Any]:
        return {"path": f"app://{message['do']}", "body": message["with"], "correlationId": message["id"]}

    async def slow(message: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        return plain(message)

    routing = {"transformIncoming": plain if kind == "plain" else slow}
    async with serving(routing=routing) as stage, stage.client() as client:
        await client.send_raw('{"do": "echo", "with": [1, 2], "id": 7}')
        answer = await client.receive()
        assert (answer["data"], answer["correlationId"]) == ([1, 2], 7)


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_transform_outgoing_sees_the_response_last(kind: str) -> None:
    def plain(result: dict[str, Any]) -> dict[str, Any]:
        return {**result, "data": {"wrapped": result["data"]}}

    async def slow(result: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        return plain(result)

    routing = {"transformOutgoing": plain if kind == "plain" else slow}
    async with serving(routing=routing) as stage, stage.client() as client:
        assert await client.request("app://echo", 1) == {"wrapped": 1}


async def test_a_transform_that_fails_is_answered_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    def broken(message: Any) -> Any:
        raise ValueError("secret of the transform")

    async with serving(routing={"transformOutgoing": broken}) as stage, stage.client() as client:
        with pytest.raises(HandlerError) as caught:
            await client.request("app://echo", 1, timeout=PATIENCE)
        assert caught.value.code == "HANDLER_ERROR" and "secret" not in str(caught.value)
    assert "secret of the transform" in caplog.text
