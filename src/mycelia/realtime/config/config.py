"""The configuration of a WebSocketSubsystem: frozen sections with safe defaults.

In Python, durations are seconds and names are snake_case. A mapping with the camelCase keys of the founding design
(`maxConnections`, `pingInterval: 25000`) loads unchanged, in its units: milliseconds. An unknown key, or one key in
both spellings, is a ConfigError that names the key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from mycelia.config.sections import mapping, one_of_sections, section
from mycelia.errors import ConfigError
from mycelia.observability.error_log import ErrorsConfig
from mycelia.realtime.config.endpoint import ServerConfig, read_server
from mycelia.realtime.config.limits import LimitsConfig
from mycelia.realtime.config.sections import (
    AuthenticationConfig,
    ConnectionConfig,
    DrainConfig,
    OverloadConfig,
    RoutingConfig,
)

__all__ = ["Config", "load_config"]


@dataclass(frozen=True, slots=True)
class Config:
    """All sections. Each field is the section of that name."""

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
            # `connection_timeout` runs from the TCP accept and covers everything until acceptance.
            raise ConfigError(
                "authentication.deadline",
                f"expected at most connection.connection_timeout ({whole:g} s), got {deadline:g} s; "
                f"lower this to {whole:g} s or raise connection.connection_timeout to {deadline:g} s",
            )


def load_config(given: Config | Mapping[str, Any] | None) -> Config:
    """Return the configuration that `given` describes.

    Args:
        given: A Config, a mapping of sections, or None for the defaults.

    Returns:
        The configuration.

    Raises:
        ConfigError: A key or value is not valid; the error names the key and what is expected.
    """
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
    return Config(tuple(read_server(server) for server in servers), **given_sections)
