"""An endpoint of the configuration and its engine: what it asks of the engine, and how clients find it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mycelia.config.sections import below
from mycelia.errors import ConfigError
from mycelia.net.capabilities import Asked, check_asked
from mycelia.net.certificates import Certificates
from mycelia.net.listen_address import asked_of_place, urls_of
from mycelia.realtime.admission.accept_limiter import descriptor_limit
from mycelia.realtime.config.endpoint import HOST, PORT, ServerConfig
from mycelia.realtime.core import Core
from mycelia.transports.capabilities import CAPABILITIES
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.engine_registry import EngineFactory, engine_class, engines_with, load_engine
from mycelia.transports.seam import CanServe, Engine

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
        kind = engine_class(load_engine(server.type))
        if kind is not None and issubclass(kind, CanServe):
            each = Served(at, server.type, server.path, server.path.rstrip("/"), kind.prefix)
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


def check_abilities(server: ServerConfig, engine: EngineFactory) -> None:
    """Raise ConfigError for what the engine of an endpoint cannot do. The error names the engines that can.

    Only an engine class declares what it can do. A factory function is not checked; the engine that it makes is.
    """
    kind = engine_class(engine)
    if kind is None:
        return
    with below("websocket"):
        asked = _asked(server, issubclass(kind, CanServe))
        check_asked(f"the engine {server.type!r}", kind.capabilities, asked, CAPABILITIES, engines_with)


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


def engine_options(server: ServerConfig, core: Core, certificates: Certificates) -> EngineOptions:
    """What the engine of an endpoint is told at its start."""
    limits = core.config.connection
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
        accept_control=core.accept_limiter,
        allowed_origins=server.allowed_origins,
        check_request=lambda request: core.admission.check_plain_request(server, request),
        too_many_rejections=core.abuse.is_exceeded,
        max_descriptor=descriptor_limit(core.config.overload.spare_descriptors),
        library=server.options,
    )


def urls(server: ServerConfig, engine: Engine) -> list[str]:
    """Where clients find an endpoint that listens: `wss://192.0.2.1:443/ws`, `ws+unix:/run/app.sock:/ws`."""
    return urls_of("ws", server, engine.addresses(), server.path)
