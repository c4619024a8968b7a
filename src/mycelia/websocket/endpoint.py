"""An endpoint of the configuration and its engine: what it asks of the engine, and how clients find it."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isfunction

from mycelia.errors import ConfigError
from mycelia.websocket.certificates import Certificates
from mycelia.websocket.config import Config, ServerConfig
from mycelia.websocket.descriptors import descriptor_limit
from mycelia.websocket.engines.abilities import ABILITIES
from mycelia.websocket.engines.base import Engine, EngineOptions, engines_that
from mycelia.websocket.gate import Gate

__all__ = ["check_abilities", "engine_options", "urls"]


def check_abilities(server: ServerConfig, engine: Engine | Callable[[], Engine]) -> None:
    """Raises ConfigError for what the engine of an endpoint cannot do, naming those that can.

    An engine's class says as much as an engine; of another factory nothing is known.
    """
    if isfunction(engine):
        return
    able = getattr(engine, "abilities", ())
    for ability, key, asked in _asked(server, hasattr(engine, "serve")):
        if asked and ability not in able:
            *some, last = engines_that(ability)
            others = f"{', '.join(some)} and {last}" if some else last
            problem = f"the engine {server.type!r} cannot {ABILITIES[ability]}; {others} can"
            raise ConfigError(f"websocket.{key}", problem)


def _asked(server: ServerConfig, served: bool) -> tuple[tuple[str, str, bool], ...]:
    """What an endpoint may ask of its engine: the ability, the key that asks for it, and whether it does.

    Under somebody else's server a host or port would be overlooked; in memory there is none to be had, so that the
    configuration of an application can be tested by another `type` alone.
    """
    usual = ServerConfig()
    several = not isinstance(server.host, str) and len(server.host) > 1
    return (
        ("deflate", "per_message_deflate", server.deflate is not None),
        ("tls", "tls", server.tls is not None),
        ("unix_socket", "unix_socket", server.unix_socket is not None),
        ("addresses", "host", several),
        ("listen", "host", served and server.host != usual.host),
        ("listen", "port", served and server.port != usual.port),
        ("pages", "http", server.http is not None),
        ("subprotocols", "subprotocols", bool(server.subprotocols)),
    )


def engine_options(server: ServerConfig, config: Config, gate: Gate, certificates: Certificates) -> EngineOptions:
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
        door=gate.door,
        allowed_origins=server.allowed_origins,
        screen=lambda request: gate.screen(server, request),
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
