"""The configuration of a ServerSubsystem: frozen sections, each with safe defaults.

The rules are those of the WebSocketSubsystem. In Python, durations are seconds and names are snake_case. Under
camelCase keys, durations are milliseconds. An unknown key, or one key in both spellings, is a ConfigError.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_type_hints

from mycelia.config.sections import below, between, check_fields, mapping, one_of_sections, rate_of, seconds, section
from mycelia.errors import ConfigError
from mycelia.net.listen_address import check_one_place
from mycelia.net.peer_rules import check_proxies
from mycelia.observability.error_log import ErrorsConfig
from mycelia.scheduling.rate_limiter import Rate
from mycelia.server.engines.registry import HTTP_ENGINES
from mycelia.serving.config import BaseAuthenticationConfig, ListenConfig

__all__ = ["AuthenticationConfig", "Config", "HealthConfig", "HttpLimits", "ServerConfig", "load_config"]

_FAILED_LOGINS = Rate(20, 60.0)


@dataclass(frozen=True, slots=True)
class ServerConfig(ListenConfig):
    """The listen address, the HTTP server, and what it serves besides routes (section `server`)."""

    section: ClassVar[str] = "server"
    default_host: ClassVar[str] = "0.0.0.0"
    default_port: ClassVar[int] = 8000

    type: str = "uvicorn"
    host: str | tuple[str, ...] = default_host
    port: int = default_port
    static: Mapping[str, str] = field(default_factory=dict)
    sockets: bool = True
    keep_headers: tuple[str, ...] = ("user-agent",)

    def __post_init__(self) -> None:
        check_fields("server", self)
        if self.type not in HTTP_ENGINES:
            raise ConfigError("server.type", f"unknown server {self.type!r}; known: {', '.join(HTTP_ENGINES)}")
        if not isinstance(self.sockets, bool):
            raise ConfigError("server.sockets", f"expected true or false, got {self.sockets!r}")
        self.check_listen()
        for prefix, folder in mapping("server.static", self.static).items():
            _check_path("server.static", prefix)
            if not isinstance(folder, str) or not folder:
                raise ConfigError("server.static", f"expected the path of a folder for {prefix!r}, got {folder!r}")
            if not os.path.isdir(folder):
                found = "a file" if os.path.exists(folder) else "nothing there"
                problem = f"expected a folder for {prefix!r} at {os.path.abspath(folder)}, got {found}"
                raise ConfigError("server.static", problem)
        mapping("server.options", self.options)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """The limits of requests (section `limits`); 0 or None switches a limit off."""

    max_body: int = 1024 * 1024
    max_requests: int = 1000
    requests_per_address: int = 256
    body_timeout: float = seconds(30.0)
    send_timeout: float = seconds(30.0)
    handler_timeout: float = seconds(0.0)
    close_timeout: float = seconds(5.0)
    body_values: int = 65_536
    query_parameters: int = 64
    failed_logins: Rate | None = _FAILED_LOGINS
    trusted_proxies: tuple[str, ...] = ()
    proxy_headers: str = "x-forwarded"

    def __post_init__(self) -> None:
        object.__setattr__(self, "failed_logins", rate_of("limits.failed_logins", self.failed_logins))
        check_fields("limits", self)
        between("limits.max_body", self.max_body, 0, 2**40)
        between("limits.max_requests", self.max_requests, 1, 2**20)
        between("limits.requests_per_address", self.requests_per_address, 0, 2**20)
        between("limits.body_values", self.body_values, 0, 2**40)
        between("limits.query_parameters", self.query_parameters, 0, 2**20)
        for name in ("body_timeout", "send_timeout", "close_timeout"):
            between(f"limits.{name}", getattr(self, name), 0.001, 86400.0, " seconds")
        between("limits.handler_timeout", self.handler_timeout, 0, 86400.0, " seconds")
        with below("limits"):
            check_proxies(self.trusted_proxies, self.proxy_headers)


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """The paths of probes, and how much they report (section `health`); None switches a probe off."""

    health: str | None = "/health"
    ready: str | None = "/ready"
    live: str | None = "/live"
    details: bool = False

    def __post_init__(self) -> None:
        check_fields("health", self)
        for name in ("health", "ready", "live"):
            if (path := getattr(self, name)) is not None:
                _check_path(f"health.{name}", path)


@dataclass(frozen=True, slots=True)
class AuthenticationConfig(BaseAuthenticationConfig):
    """The authenticator of clients, its deadline, and whether a login is required (section `authentication`).

    The `mode` "auto" becomes "required" with an authenticator and "off" without one.
    """

    def __post_init__(self) -> None:
        self.check_authentication()
        between("authentication.deadline", self.deadline, 0.001, 86400.0, " seconds")


@dataclass(frozen=True, slots=True)
class Config:
    """All sections. Each field is the section of that name."""

    server: ServerConfig = field(default_factory=ServerConfig)
    limits: HttpLimits = field(default_factory=HttpLimits)
    health: HealthConfig = field(default_factory=HealthConfig)
    authentication: AuthenticationConfig = field(default_factory=AuthenticationConfig)
    errors: ErrorsConfig = field(default_factory=ErrorsConfig)


def load_config(given: Config | Mapping[str, Any] | None) -> Config:
    """Return the configuration from a mapping. Raise ConfigError for an invalid key or value."""
    if isinstance(given, Config):
        return given
    sections = mapping("config", {} if given is None else given)
    kinds = get_type_hints(Config)
    one_of_sections("config", sections, tuple(kinds))
    if isinstance(server := sections.get("server"), Mapping):
        with below("server"):
            check_one_place(server)
    return Config(**{name: section(name, kinds[name], value) for name, value in sections.items()})


def _check_path(key: str, path: object) -> None:
    if not isinstance(path, str) or not path.startswith("/") or any(sign in path for sign in "?#\\\0"):
        raise ConfigError(key, f"expected a path such as '/assets', got {path!r}")
