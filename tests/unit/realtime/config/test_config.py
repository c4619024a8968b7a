from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mycelia.errors import ConfigError
from mycelia.realtime.config.config import Config, load_config
from mycelia.realtime.config.endpoint import ServerConfig
from mycelia.realtime.config.sections import ConnectionConfig, RoutingConfig


def function(*given: Any) -> str:
    return "x"


TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

# Every key of every section in the seed's spelling, a value in its units, and that value in ours.
KEYS: list[tuple[str, str, str, Any, Any]] = [
    ("websocket", "type", "type", "ws", "ws"),
    ("websocket", "host", "host", "::1", "::1"),
    ("websocket", "port", "port", 0, 0),
    ("websocket", "unixSocket", "unix_socket", "/run/a.sock", "/run/a.sock"),
    ("websocket", "socketMode", "socket_mode", "660", "660"),
    ("websocket", "tls", "tls", TLS, TLS),
    ("websocket", "path", "path", "/live", "/live"),
    ("websocket", "maxPayload", "max_payload", 5, 5),
    ("websocket", "perMessageDeflate", "per_message_deflate", True, True),
    ("websocket", "clientTracking", "client_tracking", False, False),
    ("websocket", "allowedOrigins", "allowed_origins", ["https://a"], ("https://a",)),
    ("websocket", "allowedHosts", "allowed_hosts", ["a.example"], ("a.example",)),
    ("websocket", "requireOrigin", "require_origin", True, True),
    ("websocket", "subprotocols", "subprotocols", ["chat"], ("chat",)),
    ("websocket", "http", "http", function, function),
    ("websocket", "options", "options", {"library": 1}, {"library": 1}),
    ("connection", "maxConnections", "max_connections", 7, 7),
    ("connection", "connectionTimeout", "connection_timeout", 1500, 1.5),
    ("connection", "pingInterval", "ping_interval", 250, 0.25),
    ("connection", "pingTimeout", "ping_timeout", 250, 0.25),
    ("connection", "closeTimeout", "close_timeout", 100, 0.1),
    ("connection", "pauseTimeout", "pause_timeout", 100, 0.1),
    ("connection", "backlogRequests", "backlog_requests", 3, 3),
    ("connection", "backlogBytes", "backlog_bytes", 3, 3),
    ("connection", "concurrentRequests", "concurrent_requests", 3, 3),
    ("connection", "outboxBytes", "outbox_bytes", 3, 3),
    ("connection", "maxHalfOpen", "max_half_open", 3, 3),
    ("connection", "maxHalfOpenPerAddress", "max_half_open_per_address", 3, 3),
    ("connection", "inboundBytes", "inbound_bytes", 3_000_000, 3_000_000),
    ("connection", "keepHeaders", "keep_headers", ["origin"], ("origin",)),
    ("connection", "generateConnectionId", "generate_connection_id", function, function),
    ("routing", "defaultPath", "default_path", "app://in", "app://in"),
    ("routing", "enableBroadcast", "enable_broadcast", False, False),
    ("routing", "enableDirectSend", "enable_direct_send", False, False),
    ("routing", "expose", "expose", ["app://*"], ("app://*",)),
    ("routing", "policy", "policy", function, function),
    ("routing", "transformIncoming", "transform_incoming", function, function),
    ("routing", "transformOutgoing", "transform_outgoing", function, function),
]
KINDS: dict[str, Any] = {"websocket": ServerConfig, "connection": ConnectionConfig, "routing": RoutingConfig}

each_key = pytest.mark.parametrize(("section", "camel", "snake", "theirs", "ours"), KEYS, ids=[key[1] for key in KEYS])


def value_of(config: Config, section: str, name: str) -> Any:
    held: Any = config.websocket[0] if section == "websocket" else getattr(config, section)
    return getattr(held, name)


def test_the_table_above_has_every_key() -> None:
    for section, kind in KINDS.items():
        assert {entry.name for entry in fields(kind)} == {key[2] for key in KEYS if key[0] == section}


@each_key
def test_both_spellings_mean_the_same(section: str, camel: str, snake: str, theirs: Any, ours: Any) -> None:
    for spelled, value in ((camel, theirs), (snake, ours)):
        config = load_config({section: {spelled: value}})
        assert value_of(config, section, snake) == ours
        default: Any = KINDS[section]()
        changed = config.websocket[0] if section == "websocket" else getattr(config, section)
        assert replace(changed, **{snake: getattr(default, snake)}) == default


@each_key
def test_both_spellings_at_once_are_an_error(section: str, camel: str, snake: str, theirs: Any, ours: Any) -> None:
    if camel == snake:
        return
    with pytest.raises(ConfigError, match=rf"{section}\.\w+: given twice, as {snake} and {camel}") as caught:
        load_config({section: {camel: theirs, snake: ours}})
    assert caught.value.key in (f"{section}.{camel}", f"{section}.{snake}")


WRONG: dict[str, list[Any]] = {
    "text": ["", 1, None, b"x", ["x"]],
    "whole": ["1", 1.0, True, None, float("nan"), -1, 10**400],
    "number": ["1", True, None, float("nan"), float("inf"), -1, 10**400, 10**12],
    "switch": [0, 1, "true", None],
    "list": ["text", 5, None, [1], [None], {"a": 1}],
    "function": ["text", 5, {}],
    "hosts": ["", 1, None, b"x", [], [1], [""], {"a": 1}],
    "path": ["", 1, b"x", ["x"], "a\0b"],
    "tls": [5, "x", [], ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)],
}
SORTS: dict[str, str] = {
    "str": "text",
    "int": "whole",
    "float": "number",
    "bool": "switch",
    "tuple[str, ...]": "list",
    "str | tuple[str, ...]": "hosts",
    "str | None": "path",
    "TlsConfig | ssl.SSLContext | None": "tls",
}


def wrong_values(section: str, snake: str) -> list[Any]:
    hint = str(next(entry.type for entry in fields(KINDS[section]) if entry.name == snake))
    sort = SORTS.get(hint, "function" if "Callable" in hint else "")
    return WRONG.get(sort, [5, "x", None, []])


@each_key
def test_a_wrong_value_names_its_key(section: str, camel: str, snake: str, theirs: Any, ours: Any) -> None:
    for value in wrong_values(section, snake):
        for key in (camel, snake):
            with pytest.raises(ConfigError) as caught:
                load_config({section: {key: value}})
            assert caught.value.key.split(".")[0] == section
            assert caught.value.key.split(".")[-1] in (camel, snake)
            assert "expected" in caught.value.problem


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (5, "config"),
        ([], "config"),
        ({"connections": {}}, "config.connections"),
        ({"connection": None}, "connection"),
        ({"routing": "x"}, "routing"),
        ({"websocket": []}, "websocket"),
        ({"websocket": "picows"}, "websocket"),
        ({"websocket": [{}, 5]}, "websocket"),
        ({"websocket": {"options": 5}}, "websocket.options"),
        ({"websocket": {"Port": 1}}, "websocket.Port"),
        ({"websocket": {"port": 65536}}, "websocket.port"),
        ({"websocket": {"unixSocket": "/run/a.sock", "host": "0.0.0.0"}}, "websocket.unixSocket"),
        ({"websocket": {"unix_socket": "/run/a.sock", "port": 8080}}, "websocket.unix_socket"),
        ({"websocket": {"socket_mode": "888"}}, "websocket.socket_mode"),
        ({"websocket": {"socket_mode": ""}}, "websocket.socket_mode"),
        ({"websocket": {"socketMode": "1777"}}, "websocket.socket_mode"),
        ({"websocket": {"tls": {}}}, "websocket.tls.certificate"),
        ({"websocket": {"tls": {"certificates": "a.pem"}}}, "websocket.tls.certificates"),
        ({"websocket": {"path": "ws"}}, "websocket.path"),
        ({"websocket": {"path": "/ws?x"}}, "websocket.path"),
        ({"websocket": {"path": "/ws#x"}}, "websocket.path"),
        ({"websocket": {"maxPayload": 1, "options": {"maxPayload": 2}}}, "websocket.options.maxPayload"),
        ({"websocket": {"options": {"maxPayload": 1, "max_payload": 1}}}, "websocket.max_payload"),
        ({"websocket": {"maxPayload": 0}}, "websocket.options.max_payload"),
        ({"connection": {"pingTimeout": 0}}, "connection.ping_timeout"),
        ({"connection": {"pingInterval": 86_400_001}}, "connection.ping_interval"),
        ({"connection": {1: 2}}, "connection.1"),
    ],
)
def test_the_key_at_fault_is_named(given: Any, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(given)
    assert caught.value.key == key


@pytest.mark.parametrize("key", ["socketMode", "socket_mode"])
def test_permissions_are_a_text(key: str) -> None:
    with pytest.raises(ConfigError, match="expected octal digits as a text, such as '660', got 660") as caught:
        load_config({"websocket": {key: 660}})
    assert caught.value.key == f"websocket.{key}"


def test_an_unknown_key_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"routing\.enableBroadcasts: unknown key; known: defaultPath, enable"):
        load_config({"routing": {"enableBroadcasts": True}})


@given(st.text(max_size=12), st.sampled_from(["config", "websocket", "connection", "routing"]))
def test_no_text_is_a_key_by_chance(key: str, section: str) -> None:
    known = {name for entry in KEYS if entry[0] == section for name in entry[1:3]}
    if key in known or (section == "config" and key in {entry.name for entry in fields(Config)}):
        return
    with pytest.raises(ConfigError) as caught:
        load_config({key: {}} if section == "config" else {section: {key: 1}})
    assert caught.value.key == f"{section}.{key}"


@settings(max_examples=30)
@given(st.integers(0, 86_400_000))
def test_milliseconds_and_seconds(milliseconds: int) -> None:
    theirs = load_config({"connection": {"pingInterval": milliseconds}})
    assert theirs.connection.ping_interval == milliseconds / 1000
    assert load_config({"connection": {"ping_interval": milliseconds / 1000}}) == theirs


@pytest.mark.parametrize("key", ["maxPayload", "max_payload"])
def test_options_that_are_ours_are_lifted_and_the_rest_is_the_librarys(key: str) -> None:
    [server] = load_config({"websocket": {"options": {key: 9, "clientTracking": False, "own": None}}}).websocket
    assert (server.max_payload, server.client_tracking, dict(server.options)) == (9, False, {"own": None})


def test_several_endpoints() -> None:
    config = load_config({"websocket": [{"port": 1}, ServerConfig(port=2), {"type": "memory"}]})
    assert [(server.type, server.port) for server in config.websocket] == [
        ("picows", 1),
        ("picows", 2),
        ("memory", 8080),
    ]


def test_what_is_loaded_already_stays_as_it_is() -> None:
    config = Config(connection=ConnectionConfig(max_connections=5))
    assert load_config(config) is config
    limits, routing = ConnectionConfig(ping_interval=0), RoutingConfig(expose=("a://*",))
    loaded = load_config({"connection": limits, "routing": routing})
    assert loaded.connection is limits and loaded.routing is routing


def test_loading_changes_nothing_of_what_was_given() -> None:
    given: dict[str, Any] = {"websocket": {"options": {"maxPayload": 5, "own": 1}}, "connection": {"pingTimeout": 5}}
    copy = {"websocket": {"options": {"maxPayload": 5, "own": 1}}, "connection": {"pingTimeout": 5}}
    assert load_config(given) == load_config(copy)
    assert given == copy


@pytest.mark.parametrize("kind", [Config, *KINDS.values()])
def test_the_sections_are_frozen_and_have_a_default_for_everything(kind: Callable[[], Any]) -> None:
    made = kind()
    for entry in fields(made):
        assert entry.default is not MISSING or entry.default_factory is not MISSING
        with pytest.raises(FrozenInstanceError):
            setattr(made, entry.name, None)


def test_connection_ids_are_unlike_each_other() -> None:
    make = ConnectionConfig().generate_connection_id
    assert len({make(object()) for _ in range(100)}) == 100
