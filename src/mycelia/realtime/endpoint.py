"""An endpoint of the configuration and its engine: what it asks of the engine, and how clients find it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import isfunction
from typing import NamedTuple

from mycelia.config.sections import below
from mycelia.errors import ConfigError
from mycelia.net.capabilities import Asked, check_asked
from mycelia.net.certificates import Certificates
from mycelia.net.listen_address import asked_of_place, urls_of
from mycelia.realtime.admission.file_descriptors import descriptor_limit
from mycelia.realtime.admission.handshake import Gate
from mycelia.realtime.config.config import HOST, PORT, Config, ServerConfig
from mycelia.transports.capabilities import ABILITIES
from mycelia.transports.seam import Engine, EngineOptions, engines_that, load_engine

__all__ = ["Served", "check_abilities", "engine_options", "served", "urls"]


class Served(NamedTuple):
    """An endpoint that ASGI servers can serve."""

    at: int  # its place in the configuration
    type: str
    path: str
    own: str  # the same without a slash at its end
    below: bool  # whether it has everything below its path too

    def __str__(self) -> str:
        return f"endpoint {self.at + 1} ({self.type})"


def served(servers: Sequence[ServerConfig]) -> list[Served]:
    """The endpoints that ASGI servers can serve: the first that has a path gets its requests.

    Raises ConfigError for one that would get none.
    """
    found: list[Served] = []
    for at, server in enumerate(servers):
        kind = load_engine(server.type)
        if hasattr(kind, "serve"):
            below = bool(getattr(kind, "prefix", False))
            each = Served(at, server.type, server.path, server.path.rstrip("/"), below)
            for first in found:
                _check_reached(first, each)
            found.append(each)
    return found


def _check_reached(first: Served, later: Served) -> None:
    if first.own == later.own:
        problem = f"{first} and {later} both have {later.path!r}, and one ASGI server serves both"
        raise ConfigError("websocket.path", f"{problem}; expected a path for each")
    if first.below and later.own.startswith(f"{first.own}/"):
        problem = f"{later} at {later.path!r} gets no request, for {first} has all below {first.path!r}"
        raise ConfigError("websocket.path", f"{problem}; expected it before that one in the list, or at another path")


def check_abilities(server: ServerConfig, engine: Engine | Callable[[], Engine]) -> None:
    """Raises ConfigError for what the engine of an endpoint cannot do, naming those that can.

    An engine's class says as much as an engine; of another factory nothing is known.
    """
    if isfunction(engine):
        return
    with below("websocket"):
        name, able = f"the engine {server.type!r}", getattr(engine, "abilities", ())
        check_asked(name, able, _asked(server, hasattr(engine, "serve")), ABILITIES, engines_that)


def _asked(server: ServerConfig, served: bool) -> tuple[Asked, ...]:
    """What an endpoint may ask of its engine.

    Under somebody else's server a host or port would be overlooked; in memory there is none to be had, so that the
    configuration of an application can be tested by another `type` alone.
    """
    return (
        Asked("deflate", "per_message_deflate", server.deflate is not None),
        *asked_of_place(server, HOST, PORT, owned=served),
        Asked("pages", "http", server.http is not None),
        Asked("subprotocols", "subprotocols", bool(server.subprotocols)),
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
        abused=gate.abused,
        max_descriptor=descriptor_limit(config.overload.spare_descriptors),
        library=server.options,
    )


def urls(server: ServerConfig, engine: Engine) -> list[str]:
    """Where clients find an endpoint that listens: `wss://192.0.2.1:443/ws`, `ws+unix:/run/app.sock:/ws`."""
    first = engine.address()
    several = getattr(engine, "addresses", None)
    found = several() if several is not None else [] if first is None else [first]
    return urls_of("ws", server, found, server.path)
