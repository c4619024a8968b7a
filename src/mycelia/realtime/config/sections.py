"""The sections `connection`, `routing`, `overload`, `drain` and `authentication`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import urandom
from typing import Any

from mycelia.auth import Authenticator
from mycelia.config.sections import between, check_fields, seconds
from mycelia.errors import ConfigError, RouteError
from mycelia.kernel.routing.path import Pattern
from mycelia.serving.config import settled_mode

__all__ = ["AuthenticationConfig", "ConnectionConfig", "DrainConfig", "OverloadConfig", "RoutingConfig"]


def _uuid(socket: object) -> str:
    """Return a random UUID of version 4 (RFC 9562 §5.4) as a string, without an object in between."""
    text = urandom(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[int(text[16], 16) & 3]}{text[17:20]}-{text[20:]}"


@dataclass(frozen=True, slots=True)
class ConnectionConfig:
    """The number of connections, their timeouts, and the bounds of what waits for each (section `connection`)."""

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
    """The paths that clients reach, and transforms of envelopes (section `routing`)."""

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
class OverloadConfig:
    """The bounds above which new work is refused (section `overload`); 0 switches a bound off."""

    max_lag: float = seconds(1.0)
    max_requests: int = 32_768
    memory_ceiling_bytes: int = 0
    spare_descriptors: int = 32
    stall_warning: float = seconds(0.5)

    def __post_init__(self) -> None:
        check_fields("overload", self)
        for name in ("max_requests", "memory_ceiling_bytes", "spare_descriptors"):
            between(f"overload.{name}", getattr(self, name), 0, 2**50)
        for name in ("max_lag", "stall_warning"):
            between(f"overload.{name}", getattr(self, name), 0, 3600.0, " seconds")


@dataclass(frozen=True, slots=True)
class DrainConfig:
    """How long a drain spreads its closes (section `drain`)."""

    window: float = seconds(10.0)

    def __post_init__(self) -> None:
        check_fields("drain", self)
        between("drain.window", self.window, 0, 86400.0, " seconds")


@dataclass(frozen=True, slots=True)
class AuthenticationConfig:
    """Which clients must log in, and what checks their credentials (section `authentication`).

    The `mode` "auto" becomes "required" with an authenticator and "off" without one.
    """

    authenticator: Authenticator | None = None
    mode: str = "auto"
    deadline: float = seconds(10.0)
    warning: float = seconds(60.0)
    grace: float = seconds(25.0)

    def __post_init__(self) -> None:
        check_fields("authentication", self)
        object.__setattr__(self, "mode", settled_mode(self.authenticator, self.mode))
        for name in ("deadline", "warning", "grace"):
            between(f"authentication.{name}", getattr(self, name), 0, 86400.0, " seconds")
