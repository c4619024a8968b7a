"""Who may come in: every handshake is judged here, at once, whatever engine it came by.

What may wait (authentication, the application's `connect`) comes after it. A refusal is an HTTP answer that says which
rule was broken and what would be right, and it is counted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from math import ceil
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mycelia.errors import ConfigError
from mycelia.net.address import Proxies, address_key
from mycelia.net.client import ClientInfo
from mycelia.observability.counters import Limit
from mycelia.protocol.wire.codec import CODECS, Codec, subprotocols
from mycelia.protocol.wire.codes import Close
from mycelia.protocol.ws.deflate import Compression, Negotiator
from mycelia.protocol.ws.handshake import (
    BadHandshake,
    Handshake,
    HttpReply,
    check_query,
    check_subprotocols,
    check_upgrade,
    choose_subprotocol,
    host_allowed,
    origin_allowed,
)
from mycelia.realtime.admission.accept_limiter import AcceptLimiter
from mycelia.realtime.admission.file_descriptors import affordable
from mycelia.realtime.connection.connection import WebSocketConnection
from mycelia.realtime.connection.principal import WatchedMetadata
from mycelia.transports.seam import Accept

if TYPE_CHECKING:
    from mycelia.realtime.config.config import ServerConfig
    from mycelia.realtime.core import Runtime

__all__ = ["Gate"]

logger = logging.getLogger("mycelia.websocket")

_OTHER_HOST = "this Host is not served here; see websocket.allowedHosts"
_OTHER_ORIGIN = "this Origin is not allowed; see websocket.allowedOrigins"
_COUNTED_AS = {421: Limit.HOST, 403: Limit.ORIGIN}  # no other rule for handshakes answers so
_QUIET = 60.0  # seconds between two warnings about one address
_FULL = HttpReply(503, b"no room; try again later\n", (("Retry-After", "5"),))
_CROWD = HttpReply(
    429,
    b"too many connections from this address; close one first (limits.connectionsPerAddress)\n",
    (("Retry-After", "5"),),
)
_GUESSED = b"too many failed logins from this address; try again later (limits.failedLogins)\n"


class Gate:
    """Decides handshakes for one subsystem, and counts who has come in."""

    def __init__(self, runtime: Runtime) -> None:
        config = runtime.config
        self._runtime = runtime
        self._limits = config.limits
        self._codecs: Mapping[str, Codec] = subprotocols()
        self._spoken: dict[str, Codec] = {}  # by engines that have a language of their own, whatever was agreed on
        self._proxies = Proxies(config.limits.trusted_proxies, config.limits.proxy_headers)
        self._warned = -_QUIET
        self.door = self._make_door()

    def admit(
        self, server: ServerConfig, framed: bool, request: Handshake, negotiator: Negotiator | None = None
    ) -> Accept | HttpReply:
        """Decides one handshake; `negotiator` answers offers of compression, where there is any."""
        try:
            request = self._unveiled(server, request)
            if request.path != server.path:
                page = server.http(request) if server.http is not None else None
                if page is not None:
                    return page
                raise BadHandshake(404, f"not found; the WebSocket is at {server.path}")
            check_upgrade(request)
            _check_origin(server, request)
            check_query(request, self._limits.query_parameters)
            check_subprotocols(request)
            known = (*self._codecs, *server.subprotocols)
            chosen = choose_subprotocol(request.subprotocols, known)
            offered = request.headers.lines("sec-websocket-extensions") if negotiator is not None else ()
            compression = negotiator.agree(offered) if negotiator is not None and offered else None
            if compression is not None:
                compression = compression._replace(schedule=self._runtime.dispatch.batons.call)
        except BadHandshake as bad:
            return self._refused(bad)
        return self._crowded(request) or self._accept(server, framed, request, chosen, compression)

    def screen(self, server: ServerConfig, request: Handshake) -> HttpReply | None:
        """Why a plain request may not be served, by its Host and Origin; None when it may."""
        try:
            _check_origin(server, self._unveiled(server, request))
        except BadHandshake as bad:
            return self._refused(bad)
        return None

    def abused(self, session: str) -> bool:
        """Whether a session, whose client asks for connections in it, has been refused one too often (4429)."""
        return self._runtime.throttle.abused(session)

    def speak(self, engine_type: str, codec: Codec | None) -> None:
        """All connections of engines of this type speak `codec`, where it is one."""
        if codec is not None:
            self._spoken[engine_type] = codec

    def claim(self, connection: WebSocketConnection) -> bool:
        """Counts a connection that is being accepted for its principal; False when that has enough.

        Afterwards nobody need ask: whatever changes the principal of an open connection writes into its metadata.
        """
        most = self._limits.connections_per_principal
        if not most:
            return True
        if self._runtime.connections.claim(connection, connection.options.principal_id, most):
            return True
        self._runtime.refusals.add(Limit.CONNECTIONS_PER_PRINCIPAL)
        return False

    def metadata(self, connection: WebSocketConnection) -> dict[str, Any]:
        """The mapping for a connection's metadata: where principals are counted it notices whom it names."""
        return WatchedMetadata(connection, self._renamed) if self._limits.connections_per_principal else {}

    def _renamed(self, connection: WebSocketConnection) -> None:
        """An open connection is another principal's, or nobody's; where that one has enough it is closed (4429)."""
        if connection.is_open and not self.claim(connection):
            connection.close(Close.ABUSE, "too many connections of this user")

    def _unveiled(self, server: ServerConfig, request: Handshake) -> Handshake:
        """The request as its client made it, whatever proxies are between; BadHandshake for another Host than ours."""
        if self._proxies:
            request = self._proxies.unveil(request)
        if server.allowed_hosts and not host_allowed(request, server.allowed_hosts):
            raise BadHandshake(421, _OTHER_HOST)
        return request

    def _refused(self, bad: BadHandshake) -> HttpReply:
        self._runtime.refusals.add(_COUNTED_AS.get(bad.reply.status, Limit.HANDSHAKE))
        return bad.reply

    def _crowded(self, request: Handshake) -> HttpReply | None:
        runtime = self._runtime
        if runtime.draining or not runtime.accepting or runtime.pressure.shedding or runtime.connections.full:
            runtime.refusals.add(Limit.CONNECTIONS)
            return _FULL
        host = request.remote[0] if request.remote else ""
        address, most = address_key(host), self._limits.connections_per_address
        if most and host and runtime.connections.by_address[address] >= most:
            runtime.refusals.add(Limit.CONNECTIONS_PER_ADDRESS)
            self._warn(host, f"has {most} connections, the most that one address may have")
            return _CROWD
        if wait := runtime.authentication.holds_back(address, request):
            runtime.refusals.add(Limit.FAILED_LOGINS)
            self._warn(host, "had more failed logins than one address may have")
            return HttpReply(429, _GUESSED, (("Retry-After", str(ceil(wait))),))
        return None

    def _accept(
        self,
        server: ServerConfig,
        framed: bool,
        request: Handshake,
        chosen: str | None,
        compression: Compression | None,
    ) -> Accept:
        runtime = self._runtime
        codec = self._spoken.get(server.type) or self._codecs.get(chosen or "", CODECS["json"])
        dialect = runtime.dialect(codec, framed, compression)
        client = ClientInfo.of(request, server.type, chosen, runtime.config.connection.keep_headers)
        connection = WebSocketConnection(self._new_id(request), runtime, dialect, client)
        runtime.connections.add(connection)
        runtime.lifecycle.expect(connection, request)
        return Accept(connection, chosen, (), compression)

    def _new_id(self, request: Handshake) -> str:
        made: object = self._runtime.config.connection.generate_connection_id(request)
        connection_id = str(made) if isinstance(made, UUID) else made
        if not isinstance(connection_id, str) or not 0 < len(connection_id) <= 128 or not connection_id.isprintable():
            key = "connection.generate_connection_id"
            raise ConfigError(key, f"expected a UUID or 1 to 128 printable characters, got {made!r}")
        return connection_id

    def _make_door(self) -> AcceptLimiter:
        caps, limits = self._runtime.config.connection, self._limits
        most = affordable(caps.max_half_open)
        door = AcceptLimiter(most, min(most, caps.max_half_open_per_address), self._runtime.refusals)
        door.limit_rates(limits.accept_rate, limits.accept_rate_per_address)
        if self._proxies:
            door.spare(self._proxies.trusts)
        return door

    def _warn(self, host: str, what: str) -> None:
        """Behind a proxy that is not listed every client has one address; whoever runs it must be able to find out."""
        now = monotonic()
        if now - self._warned >= _QUIET:
            self._warned = now
            hint = "if that is a proxy of yours, list it in limits.trusted_proxies"
            logger.warning("%s %s; %s", host, what, hint)


def _check_origin(server: ServerConfig, request: Handshake) -> None:
    if not origin_allowed(request, server.allowed_origins, server.require_origin):
        raise BadHandshake(403, _OTHER_ORIGIN)
