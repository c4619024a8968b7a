"""The configuration of a WebSocketSubsystem: frozen sections, each with safe defaults.

In Python durations are seconds and names are snake_case. A mapping written in the seed's own keys
(`maxConnections`, `pingInterval: 25000`) loads unchanged, in the seed's units: milliseconds. An unknown key,
or one key in both spellings, is a ConfigError that names it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import urandom
from typing import Any, get_type_hints

from mycelia.config.sections import below, between, check_fields, mapping, octal, one_of_sections, seconds, section
from mycelia.errors import ConfigError, RouteError
from mycelia.kernel.routing.path import Pattern
from mycelia.net.certificates import TlsConfig, read_tls
from mycelia.net.listen_address import check_one_place, check_place
from mycelia.net.peer_rules import check_names
from mycelia.observability.error_log import ErrorsConfig
from mycelia.protocol.ws.deflate import DeflateSettings
from mycelia.protocol.ws.handshake import Handshake, HttpReply
from mycelia.realtime.config.authentication import AuthenticationConfig
from mycelia.realtime.config.limits import LimitsConfig
from mycelia.realtime.lifecycle.drain import DrainConfig
from mycelia.realtime.overload.monitor import OverloadConfig
from mycelia.transports.engine_registry import engine_names, is_engine

__all__ = ["HOST", "PORT", "Config", "ConnectionConfig", "RoutingConfig", "ServerConfig", "load_config"]


HOST = "0.0.0.0"
PORT = 8080


def _uuid(socket: object) -> str:
    """A random UUID of version 4 (RFC 9562 §5.4) as text, without the object in between."""
    text = urandom(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[int(text[16], 16) & 3]}{text[17:20]}-{text[20:]}"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where and with which engine to listen (section `websocket`)."""

    type: str = "picows"
    host: str | tuple[str, ...] = HOST
    port: int = PORT
    unix_socket: str | None = None
    socket_mode: str = octal("600")
    tls: TlsConfig | ssl.SSLContext | None = None
    path: str = "/ws"
    max_payload: int = 1024 * 1024
    per_message_deflate: bool | DeflateSettings = False
    client_tracking: bool = True
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    require_origin: bool = False
    subprotocols: tuple[str, ...] = ()
    http: Callable[[Handshake], HttpReply | None] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields("websocket", self)
        if not isinstance(self.per_message_deflate, (bool, DeflateSettings)):
            problem = f"expected true, false or a mapping, got {self.per_message_deflate!r}"
            raise ConfigError("websocket.options.per_message_deflate", problem)
        if not is_engine(self.type):
            known = ", ".join(engine_names())
            raise ConfigError("websocket.type", f"unknown engine {self.type!r}; known: {known}")
        between("websocket.port", self.port, 0, 65535)
        with below("websocket"):
            object.__setattr__(self, "tls", read_tls(self.tls))
            check_place(self, HOST, PORT)
            check_names(self.allowed_origins, self.allowed_hosts)
        between("websocket.options.max_payload", self.max_payload, 1, 2**40)
        if not self.path.startswith("/") or "?" in self.path or "#" in self.path:
            raise ConfigError("websocket.path", f"expected a path such as '/ws', got {self.path!r}")

    @property
    def deflate(self) -> DeflateSettings | None:
        """How messages are compressed; None for not at all."""
        given = self.per_message_deflate
        return given if isinstance(given, DeflateSettings) else DeflateSettings() if given else None


@dataclass(frozen=True, slots=True)
class ConnectionConfig:
    """How many connections, for how long, and how much may wait for one of them (section `connection`)."""

    max_connections: int = 1000
    connection_timeout: float = seconds(30.0)
    ping_interval: float = seconds(25.0)
    ping_timeout: float = seconds(5.0)
    close_timeout: float = seconds(2.0)
    pause_timeout: float = seconds(5.0)
    backlog_requests: int = 64
    backlog_bytes: int = 256 * 1024
    concurrent_requests: int = 16
    outbox_bytes: int = 1024 * 1024
    inbound_bytes: int = 64 * 1024 * 1024
    max_half_open: int = 512
    max_half_open_per_address: int = 256
    keep_headers: tuple[str, ...] = ("user-agent",)
    generate_connection_id: Callable[[Any], str] = _uuid

    def __post_init__(self) -> None:
        check_fields("connection", self)
        for name in (
            "max_connections",
            "backlog_requests",
            "backlog_bytes",
            "concurrent_requests",
            "outbox_bytes",
            "inbound_bytes",
            "max_half_open",
            "max_half_open_per_address",
        ):
            between(f"connection.{name}", getattr(self, name), 1, 2**40)
        for name in ("connection_timeout", "ping_timeout", "close_timeout", "pause_timeout"):
            between(f"connection.{name}", getattr(self, name), 0.001, 86400.0, " seconds")
        between("connection.ping_interval", self.ping_interval, 0, 86400.0, " seconds")


@dataclass(frozen=True, slots=True)
class RoutingConfig:
    """Which paths clients reach and how envelopes are transformed (section `routing`)."""

    default_path: str = "websocket://message"
    enable_broadcast: bool = True
    enable_direct_send: bool = True
    expose: tuple[str, ...] = ()
    policy: Callable[..., Any] | None = None
    transform_incoming: Callable[[Any], Any] | None = None
    transform_outgoing: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        check_fields("routing", self)
        try:
            Pattern.parse(self.default_path)
        except RouteError as fault:
            raise ConfigError("routing.default_path", fault.problem) from None


@dataclass(frozen=True, slots=True)
class Config:
    """All sections; a field here is a section of that name."""

    websocket: tuple[ServerConfig, ...] = field(default_factory=lambda: (ServerConfig(),))
    connection: ConnectionConfig = field(default_factory=ConnectionConfig)
    routing: RoutingConfig = field(default_factory=RoutingConfig)
    overload: OverloadConfig = field(default_factory=OverloadConfig)
    drain: DrainConfig = field(default_factory=DrainConfig)
    errors: ErrorsConfig = field(default_factory=ErrorsConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    authentication: AuthenticationConfig = field(default_factory=AuthenticationConfig)

    def __post_init__(self) -> None:
        deadline, whole = self.authentication.deadline, self.connection.connection_timeout
        if self.authentication.mode == "required" and deadline > whole:
            # It would be cut short: a connection has until `connection_timeout`, from its TCP accept, for everything.
            raise ConfigError(
                "authentication.deadline",
                f"expected at most connection.connection_timeout ({whole:g} s), got {deadline:g} s; "
                f"lower this to {whole:g} s or raise connection.connection_timeout to {deadline:g} s",
            )


def load_config(given: Config | Mapping[str, Any] | None) -> Config:
    """The configuration that `given` describes. Raises ConfigError naming the key and what would be right."""
    if isinstance(given, Config):
        return given
    sections = mapping("config", {} if given is None else given)
    kinds = get_type_hints(Config)
    one_of_sections("config", sections, tuple(kinds))
    servers = sections.get("websocket", {})
    if not isinstance(servers, Sequence) or isinstance(servers, str):
        servers = [servers]
    if not servers:
        raise ConfigError("websocket", "expected at least one endpoint, got an empty list")
    given_sections = {name: section(name, kinds[name], sections[name]) for name in sections if name != "websocket"}
    return Config(tuple(_server(server) for server in servers), **given_sections)


def _server(given: Any) -> ServerConfig:
    if isinstance(given, ServerConfig):
        return given
    values = dict(mapping("websocket", given))
    ours: dict[str, Any] = {}
    library: dict[str, Any] = {}
    lifted = {"max_payload", "maxPayload", "per_message_deflate", "perMessageDeflate"}
    lifted |= {"client_tracking", "clientTracking"}
    for key, value in mapping("websocket.options", values.pop("options", {})).items():
        (ours if key in lifted else library)[key] = value
    for key in ours:
        if key in values:
            raise ConfigError(f"websocket.options.{key}", f"also given as websocket.{key}; give it once")
    with below("websocket"):
        check_one_place(values)
    for key in ("per_message_deflate", "perMessageDeflate"):
        given_here = ours if key in ours else values
        if isinstance(given_here.get(key), Mapping):
            given_here[key] = section(f"websocket.{key}", DeflateSettings, given_here[key])
    return section("websocket", ServerConfig, {**values, **ours, "options": library})
