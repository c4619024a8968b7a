"""Handshake admission: decides every opening handshake at once, in one order, whatever engine it came by.

The order is: client behind proxies, Host, path, upgrade, Origin, query, subprotocol, compression, capacity of the
server, connections of the address, failed logins of the address. The credential is read once and handed to the
lifecycle, which asks the authenticator and `connect` after the handshake. A rejection is an HTTP response that names
the rule, and it is counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from math import ceil
from time import monotonic
from uuid import UUID

from mycelia.errors import ConfigError
from mycelia.net.address import Proxies, address_key
from mycelia.net.client import ClientInfo
from mycelia.observability.counters import Counter, EventCounters
from mycelia.protocol.http.credentials import choose_subprotocol
from mycelia.protocol.http.origin import check_query, host_allowed, origin_allowed
from mycelia.protocol.http.request import BadHandshake, HttpReply
from mycelia.protocol.http.request import Handshake as RequestHead
from mycelia.protocol.wire.codec import CODECS, Codec, subprotocols
from mycelia.protocol.ws.deflate import Compression, Negotiator
from mycelia.protocol.ws.handshake import check_subprotocols, check_upgrade
from mycelia.realtime.authentication.login import Login
from mycelia.realtime.config.endpoint import ServerConfig
from mycelia.realtime.config.limits import LimitsConfig
from mycelia.realtime.config.sections import ConnectionConfig
from mycelia.realtime.connection.connection import SessionPorts, WebSocketConnection
from mycelia.realtime.connection.encoder import Encoders
from mycelia.realtime.connection.link import Link
from mycelia.realtime.connection.link_ports import LinkPorts
from mycelia.realtime.connection.registry import ConnectionRegistry
from mycelia.realtime.connection.work import PendingHandshake
from mycelia.scheduling.fair_scheduler import FairScheduler
from mycelia.transports.seam import Accept

__all__ = ["HandshakeAdmission"]

logger = logging.getLogger("mycelia.websocket")

_OTHER_HOST = "this Host is not served here; see websocket.allowedHosts"
_OTHER_ORIGIN = "this Origin is not allowed; see websocket.allowedOrigins"
_COUNTED_AS = {421: Counter.HOST, 403: Counter.ORIGIN}  # no other rule for handshakes has these statuses
_WARNING_INTERVAL = 60.0  # seconds between two warnings about addresses
_FULL = HttpReply(503, b"no room; try again later\n", (("Retry-After", "5"),))
_ADDRESS_FULL = HttpReply(
    429,
    b"too many connections from this address; close one first (limits.connectionsPerAddress)\n",
    (("Retry-After", "5"),),
)
_FAILED_LOGINS = b"too many failed logins from this address; try again later (limits.failedLogins)\n"


class HandshakeAdmission:
    """Decides the handshakes of one subsystem and makes the connections of those that it accepts.

    Args:
        limits: The section `limits`.
        config: The section `connection`.
        proxies: The trusted proxies.
        registry: All links.
        login: Reads credentials, and knows which addresses have to wait.
        encoders: Makes the encoders.
        scheduler: Shares the event loop between peers whose messages are inflated.
        counters: Counts rejections.
        has_capacity: Returns False if the server stops, drains or is overloaded.
        expect: Keeps the handshake of a new link for `connect`.
        sessions: What new sessions need.
        links: What new links need.
    """

    def __init__(
        self,
        *,
        limits: LimitsConfig,
        config: ConnectionConfig,
        proxies: Proxies,
        registry: ConnectionRegistry,
        login: Login,
        encoders: Encoders,
        scheduler: FairScheduler,
        counters: EventCounters,
        has_capacity: Callable[[], bool],
        expect: Callable[[Link, PendingHandshake], None],
        sessions: SessionPorts,
        links: LinkPorts[Link],
    ) -> None:
        self._limits, self._config, self._proxies, self._registry = limits, config, proxies, registry
        self._login, self._encoders, self._scheduler, self._counters = login, encoders, scheduler, counters
        self._has_capacity, self._expect, self._sessions, self._links = has_capacity, expect, sessions, links
        self._codecs: Mapping[str, Codec] = subprotocols()
        self._codecs_of_engines: dict[str, Codec] = {}
        self._warned_at = -_WARNING_INTERVAL

    def use_codec(self, engine_type: str, codec: Codec | None) -> None:
        """Use one codec for all connections of an engine type, whatever subprotocol they negotiate."""
        if codec is not None:
            self._codecs_of_engines[engine_type] = codec

    def admit(
        self, server: ServerConfig, framed: bool, request: RequestHead, negotiator: Negotiator | None = None
    ) -> Accept | HttpReply:
        """Decide one handshake.

        Args:
            server: The endpoint.
            framed: True if its engine takes finished frames.
            request: The head of the request.
            negotiator: Answers offers of compression; None for no compression.

        Returns:
            The accepted connection, or the HTTP response that refuses it.
        """
        try:
            request = self._resolve_client(server, request)
            if request.path != server.path:
                page = server.http(request) if server.http is not None else None
                if page is not None:
                    return page
                raise BadHandshake(404, f"not found; the WebSocket is at {server.path}")
            check_upgrade(request)
            _check_origin(server, request)
            check_query(request, self._limits.query_parameters)
            check_subprotocols(request)
            chosen = choose_subprotocol(request.subprotocols, (*self._codecs, *server.subprotocols))
            compression = self._negotiate(request, negotiator)
        except BadHandshake as bad:
            return self._refused(bad)
        handshake = PendingHandshake(request, self._login.credential_of(request))
        return self._over_limit(handshake) or self._accept(server, framed, handshake, chosen, compression)

    def check_plain_request(self, server: ServerConfig, request: RequestHead) -> HttpReply | None:
        """Return the response that refuses a plain HTTP request for its Host or Origin; None if it is allowed."""
        try:
            _check_origin(server, self._resolve_client(server, request))
        except BadHandshake as bad:
            return self._refused(bad)
        return None

    # -- inside ----------------------------------------------------------------------------------------

    def _resolve_client(self, server: ServerConfig, request: RequestHead) -> RequestHead:
        """Return the request as the client made it, behind all trusted proxies.

        Raises:
            BadHandshake: The Host is not served.
        """
        if self._proxies:
            request = self._proxies.unveil(request)
        if server.allowed_hosts and not host_allowed(request, server.allowed_hosts):
            raise BadHandshake(421, _OTHER_HOST)
        return request

    def _negotiate(self, request: RequestHead, negotiator: Negotiator | None) -> Compression | None:
        offered = request.headers.lines("sec-websocket-extensions") if negotiator is not None else ()
        compression = negotiator.agree(offered) if negotiator is not None and offered else None
        return None if compression is None else compression._replace(schedule=self._scheduler.call)

    def _refused(self, bad: BadHandshake) -> HttpReply:
        self._counters.add(_COUNTED_AS.get(bad.reply.status, Counter.HANDSHAKE))
        return bad.reply

    def _over_limit(self, handshake: PendingHandshake) -> HttpReply | None:
        """Return the response for a handshake that exceeds a limit; None if it exceeds none."""
        if not self._has_capacity() or self._registry.is_full:
            self._counters.add(Counter.CONNECTIONS)
            return _FULL
        request = handshake.request
        host = request.remote[0] if request.remote else ""
        address, most = address_key(host), self._limits.connections_per_address
        if most and host and self._registry.by_address[address] >= most:
            self._counters.add(Counter.CONNECTIONS_PER_ADDRESS)
            self._warn(host, f"has {most} connections, the most that one address may have")
            return _ADDRESS_FULL
        if wait := self._login.retry_after(address, handshake.credential):
            self._counters.add(Counter.FAILED_LOGINS)
            self._warn(host, "had more failed logins than one address may have")
            return HttpReply(429, _FAILED_LOGINS, (("Retry-After", str(ceil(wait))),))
        return None

    def _accept(
        self,
        server: ServerConfig,
        framed: bool,
        handshake: PendingHandshake,
        chosen: str | None,
        compression: Compression | None,
    ) -> Accept:
        request = handshake.request
        codec = self._codecs_of_engines.get(server.type) or self._codecs.get(chosen or "", CODECS["json"])
        client = ClientInfo.of(request, server.type, chosen, self._config.keep_headers)
        session = WebSocketConnection(self._new_id(request), client, self._sessions)
        link = Link(session, self._encoders.get(codec, framed, compression), self._links)
        self._registry.add(link)
        self._expect(link, handshake)
        return Accept(link, chosen, (), compression)

    def _new_id(self, request: RequestHead) -> str:
        made: object = self._config.generate_connection_id(request)
        connection_id = str(made) if isinstance(made, UUID) else made
        if not isinstance(connection_id, str) or not 0 < len(connection_id) <= 128 or not connection_id.isprintable():
            key = "connection.generate_connection_id"
            raise ConfigError(key, f"expected a UUID or 1 to 128 printable characters, got {made!r}")
        return connection_id

    def _warn(self, host: str, what: str) -> None:
        """Warn about an address. Behind a proxy that is not trusted, every client has the proxy's address."""
        now = monotonic()
        if now - self._warned_at >= _WARNING_INTERVAL:
            self._warned_at = now
            hint = "if that is a proxy of yours, list it in limits.trusted_proxies"
            logger.warning("%s %s; %s", host, what, hint)


def _check_origin(server: ServerConfig, request: RequestHead) -> None:
    if not origin_allowed(request, server.allowed_origins, server.require_origin):
        raise BadHandshake(403, _OTHER_ORIGIN)
