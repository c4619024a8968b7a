"""The section `websocket`: the endpoints of a WebSocketSubsystem."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mycelia.config.sections import below, between, check_fields, mapping, octal, section
from mycelia.errors import ConfigError
from mycelia.net.certificates import TlsConfig, read_tls
from mycelia.net.listen_address import check_one_place, check_place
from mycelia.net.peer_rules import check_names
from mycelia.protocol.http.request import Handshake, HttpReply
from mycelia.protocol.ws.deflate import DeflateSettings
from mycelia.transports.engine_registry import engine_names, is_engine

__all__ = ["HOST", "PORT", "ServerConfig", "read_server"]

HOST = "0.0.0.0"
PORT = 8080


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where and with which engine one endpoint listens (section `websocket`)."""

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
        """The settings of permessage-deflate; None if messages are not compressed."""
        given = self.per_message_deflate
        return given if isinstance(given, DeflateSettings) else DeflateSettings() if given else None


def read_server(given: Any) -> ServerConfig:
    """Return the endpoint that a ServerConfig or a mapping describes. Raises ConfigError."""
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
