"""What an endpoint asks of its engine, over all engines."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from mycelia import ConfigError, MessageSystem
from mycelia.protocol.http.request import HttpReply
from mycelia.realtime.config.endpoint import ServerConfig
from mycelia.realtime.endpoint import check_abilities
from mycelia.transports.capabilities import CAPABILITIES, WIRE
from mycelia.transports.engine_registry import engines_with, load_engine, make_engine
from mycelia.websocket import WebSocketSubsystem

ENGINES = ("picows", "websockets", "memory", "asgi", "socketio", "sockjs")
OVER_TCP = {"picows", "websockets"}
ASKED: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "deflate": ("websocket.per_message_deflate: .* cannot compress", {"per_message_deflate": True}, OVER_TCP),
    "tls": ("websocket.tls: .* cannot encrypt", {"tls": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}, OVER_TCP),
    "unix_socket": ("websocket.unix_socket: .* the file system", {"unix_socket": "/run/app.sock"}, OVER_TCP),
    "addresses": ("websocket.host: .* on several addresses", {"host": ("192.0.2.1", "192.0.2.2")}, OVER_TCP),
    "host": ("websocket.host: .* on a port of its own", {"host": "192.0.2.1"}, {*OVER_TCP, "memory"}),
    "port": ("websocket.port: .* on a port of its own", {"port": 0}, {*OVER_TCP, "memory"}),
    "pages": ("websocket.http: .* other paths", {"http": lambda _: HttpReply(204)}, {*OVER_TCP, "memory", "asgi"}),
    "subprotocols": (
        "websocket.subprotocols: .* of the application's",
        {"subprotocols": ("chat",)},
        {*OVER_TCP, "memory", "asgi"},
    ),
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("engine", ENGINES)
def test_what_an_engine_cannot_do_is_refused_with_those_that_can(engine: str, asked: str) -> None:
    problem, settings, able = ASKED[asked]
    server = ServerConfig(type=engine, **settings)
    if engine in able:
        check_abilities(server, load_engine(engine))
        return
    with pytest.raises(ConfigError, match=problem) as caught:
        check_abilities(server, load_engine(engine))
    assert f"the engine '{engine}' cannot" in str(caught.value)
    assert str(caught.value).endswith(" can") and all(name in str(caught.value) for name in able - {"memory"})


@pytest.mark.parametrize("engine", ENGINES)
def test_the_usual_settings_ask_for_nothing(engine: str) -> None:
    check_abilities(ServerConfig(type=engine), load_engine(engine))


def test_it_is_refused_before_anything_is_built() -> None:
    with pytest.raises(ConfigError, match="cannot listen on a port of its own; picows and websockets can"):
        WebSocketSubsystem("websocket", ms=MessageSystem("main"), config={"websocket": {"type": "asgi", "port": 9000}})


def test_every_declared_ability_is_one_that_there_is() -> None:
    for engine in ENGINES:
        assert make_engine(engine).capabilities <= set(CAPABILITIES)
    assert set(CAPABILITIES) >= WIRE
    assert engines_with("tls") == ["picows", "websockets"] and engines_with("flying") == []


def test_of_a_function_that_makes_engines_nothing_is_known() -> None:
    check_abilities(ServerConfig(type="asgi", port=1), lambda: load_engine("asgi")())


# -- endpoints of one ASGI server ------------------------------------------------------------------------


def subsystem(*endpoints: tuple[str, str]) -> WebSocketSubsystem:
    config = {"websocket": [{"type": kind, "path": path} for kind, path in endpoints]}
    return WebSocketSubsystem("websocket", ms=MessageSystem("main"), config=config)


@pytest.mark.parametrize(
    ("endpoints", "problem"),
    [
        ((("asgi", "/ws"), ("socketio", "/ws")), r"endpoint 1 \(asgi\) and endpoint 2 \(socketio\) both have '/ws'"),
        ((("picows", "/ws"), ("sockjs", "/ws"), ("asgi", "/ws/")), r"2 \(sockjs\) and .* 3 \(asgi\) both have '/ws/'"),
        ((("asgi", "/ws"), ("asgi", "/ws")), "expected a path for each"),
        ((("socket.io", "/"), ("asgi", "/ws")), r"2 \(asgi\) at '/ws' .* endpoint 1 \(socket.io\) has all below '/'"),
        ((("sockjs", "/live"), ("asgi", "/live/ws")), "expected it before that one in the list, or at another path"),
    ],
)
def test_an_endpoint_that_would_never_be_reached(endpoints: tuple[tuple[str, str], ...], problem: str) -> None:
    with pytest.raises(ConfigError, match=f"^websocket.path: .*{problem}"):
        subsystem(*endpoints)


def test_engines_that_listen_themselves_may_have_the_same_path() -> None:
    subsystem(("picows", "/ws"), ("websockets", "/ws"), ("memory", "/ws"), ("asgi", "/ws"))
