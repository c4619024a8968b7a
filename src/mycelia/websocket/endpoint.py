"""An endpoint of the configuration and its engine: what it asks of the engine, and how clients find it."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isfunction

from mycelia.errors import ConfigError
from mycelia.websocket.certificates import Certificates
from mycelia.websocket.config import Config, ServerConfig
from mycelia.websocket.descriptors import descriptor_limit
from mycelia.websocket.engines.base import Door, Engine, EngineOptions

__all__ = ["check_abilities", "engine_options", "urls"]

# What an endpoint may ask of its engine: the ability, the key that asks for it, what an engine without it cannot do.
_ABILITIES = (
    ("deflate", "per_message_deflate", "compress"),
    ("tls", "tls", "encrypt"),
    ("unix_socket", "unix_socket", "listen in the file system"),
    ("addresses", "host", "listen on several addresses"),
)


def check_abilities(server: ServerConfig, engine: Engine | Callable[[], Engine]) -> None:
    """Raises ConfigError for what the engine of an endpoint cannot do, naming those that can.

    An engine's class says as much as an engine; of another factory nothing is known.
    """
    if isfunction(engine):
        return
    several = not isinstance(server.host, str) and len(server.host) > 1
    asked = {
        "deflate": server.deflate is not None,
        "tls": server.tls is not None,
        "unix_socket": server.unix_socket is not None,
        "addresses": several,
    }
    for ability, key, what in _ABILITIES:
        if asked[ability] and ability not in getattr(engine, "abilities", ()):
            problem = f"the engine {server.type!r} cannot {what}; picows and websockets can"
            raise ConfigError(f"websocket.{key}", problem)


def engine_options(server: ServerConfig, config: Config, door: Door, certificates: Certificates) -> EngineOptions:
    """What the engine of an endpoint is told at its start."""
    limits = config.connection
    return EngineOptions(
        host=server.host,
        port=server.port,
        unix_socket=server.unix_socket,
        socket_mode=int(server.socket_mode, 8),
        tls=certificates.source(server),
        path=server.path,
        max_message_bytes=server.max_payload,
        handshake_timeout=limits.connection_timeout,
        close_timeout=limits.close_timeout,
        ping_interval=limits.ping_interval,
        ping_timeout=limits.ping_timeout,
        inbound_bytes=limits.inbound_bytes,
        door=door,
        max_descriptor=descriptor_limit(config.overload.spare_descriptors),
        library=server.options,
    )


def urls(server: ServerConfig, engine: Engine) -> list[str]:
    """Where clients find an endpoint that listens: `wss://192.0.2.1:443/ws`, `ws+unix:/run/app.sock:/ws`."""
    scheme = "ws" if server.tls is None else "wss"
    if server.unix_socket is not None:
        return [f"{scheme}+unix:{server.unix_socket}:{server.path}"]
    first = engine.address()
    several = getattr(engine, "addresses", None)
    found = several() if several is not None else [] if first is None else [first]
    return [f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{server.path}" for host, port in found]
