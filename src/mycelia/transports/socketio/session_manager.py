"""The Engine.IO sessions of one endpoint, under any ASGI server: over HTTP, in a WebSocket, or upgraded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from secrets import token_urlsafe
from typing import NamedTuple

from mycelia.asgi.scope import Receive, Scope, Send, answer, read_scope, refuse
from mycelia.protocol.engineio.requests import ErrorResponse, check_request
from mycelia.protocol.engineio.session import Session
from mycelia.protocol.engineio.settings import Settings
from mycelia.protocol.http.request import BadHandshake, Handshake, HttpReply
from mycelia.protocol.http.session_request import with_origin
from mycelia.protocol.ws.handshake import check_upgrade
from mycelia.transports.asgi.transport import AsgiTransport
from mycelia.transports.canned_responses import ABSENT, NO_ROOM
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.receive_budget import ReceiveBudget
from mycelia.transports.seam import Accept
from mycelia.transports.socketio.polling import Cors, PollingRequests
from mycelia.transports.socketio.session_transport import SessionHandler, SessionTransport
from mycelia.transports.socketio.websocket_peer import WebSocketPeer

__all__ = ["SessionManager"]

_UNCACHED = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))
_LAST_GET = 0.25  # seconds in which the last GET of a session may come after its client has closed the session


class _Routed(NamedTuple):
    """A request and its session, which the request may have opened."""

    request: Handshake
    transport: SessionTransport
    opens_session: bool


class SessionManager:
    """Finds the session of each request, opens new sessions, and forgets them when they end."""

    def __init__(
        self,
        options: EngineOptions,
        settings: Settings,
        create_handler: Callable[[SessionTransport], SessionHandler],
    ) -> None:
        self._options, self._settings, self._create_handler = options, settings, create_handler
        self._receive_budget = ReceiveBudget(options.inbound_bytes, options.max_message_bytes)
        self._polling = PollingRequests(self._receive_budget, settings.max_payload_bytes)
        self._cors = Cors(options.allowed_origins)
        self._transports: dict[str, SessionTransport] = {}

    def close(self) -> None:
        """End every session now."""
        for transport in list(self._transports.values()):
            transport.abort()

    async def serve(self, scope: Scope, receive: Receive, send: Send, path: str | None = None) -> None:
        """Serve one `websocket` or `http` scope. Returns when the request or the connection has ended.

        Args:
            scope: The ASGI scope.
            receive: The ASGI `receive` callable.
            send: The ASGI `send` callable.
            path: The path below the endpoint's mount point, or None to take it from the scope.
        """
        upgrade = scope["type"] == "websocket"
        if upgrade and (await receive())["type"] != "websocket.connect":
            return
        try:
            request = read_scope(scope, path)
            routed = self._route(request if upgrade else with_origin(request), upgrade, scope)
        except BadHandshake as bad:
            self._options.accept_control.record_bad_request(bad.reply.status)
            routed = bad.reply
        if isinstance(routed, HttpReply):
            with suppress(OSError):  # the client left before the response
                await (refuse if upgrade else answer)(scope, send, routed)
        elif upgrade:
            await self._serve_websocket(routed, scope, receive, send)
        else:
            await self._serve_polling(routed, scope, receive, send)

    def admit_websocket(self, request: Handshake) -> Accept | HttpReply:
        """Decide the handshake of a WebSocket that the uvicorn bridge carries. Raises BadHandshake."""
        check_upgrade(request)
        routed = self._route(request, True, None)
        return routed if isinstance(routed, HttpReply) else Accept(self._attach_websocket(routed))

    # -- inside --------------------------------------------------------------------------------------

    def _route(self, request: Handshake, upgrade: bool, scope: Scope | None) -> _Routed | HttpReply:
        """Return the session that a request names, or a new session; else the response that rejects the request."""
        if self._options.path.rstrip("/") not in ("", request.path.rstrip("/")):
            return ABSENT
        rejection = self._options.check_request(request)
        if rejection is not None:
            forbidden = rejection.status == ErrorResponse.FORBIDDEN.status
            return _error_reply(ErrorResponse.FORBIDDEN) if forbidden else rejection
        if request.method == "OPTIONS" and not upgrade:
            return self._cors.preflight(request)
        query = request.query
        sid = query.get("sid")
        transport = self._transports.get(sid) if sid is not None else None
        error = check_request(request.method, query, upgrade, transport is not None)
        if error is not None:
            return _error_reply(error, self._cors.headers(request))
        if transport is not None:
            return _Routed(request, transport, False)
        if not self._options.accept_control.acquire(request.remote[0] if request.remote else ""):
            return replace(NO_ROOM, headers=(*NO_ROOM.headers, *self._cors.headers(request)))
        return _Routed(request, self._open(request, scope), True)

    def _open(self, request: Handshake, scope: Scope | None) -> SessionTransport:
        session = Session(token_urlsafe(15), self._settings, asyncio.get_running_loop().time())
        transport = SessionTransport(
            session, request, scope, self._options, self._receive_budget, self._create_handler, self._forget
        )
        self._transports[session.sid] = transport
        return transport

    def _forget(self, session: Session) -> None:
        """Forget a session that has ended, at once or when its last GET has had time to come."""
        if session.expects_last_get:
            asyncio.get_running_loop().call_later(_LAST_GET, self._transports.pop, session.sid, None)
        else:
            self._transports.pop(session.sid, None)

    async def _serve_polling(self, routed: _Routed, scope: Scope, receive: Receive, send: Send) -> None:
        request = routed.request
        response = await self._polling.handle(request, routed.transport, routed.opens_session, receive)
        if response is not None:
            headers = (*_UNCACHED, *self._cors.headers(request))
            with suppress(OSError):  # the client left before the response
                await answer(scope, send, HttpReply(response.status, response.body, headers, response.content_type))

    def _attach_websocket(self, routed: _Routed) -> WebSocketPeer:
        """Return the peer of a WebSocket, after a session over HTTP has begun its upgrade to it."""
        transport = routed.transport
        websocket = WebSocketPeer(transport, routed.opens_session)
        if not routed.opens_session:
            transport.perform(transport.session.begin_upgrade(websocket, asyncio.get_running_loop().time()))
        return websocket

    async def _serve_websocket(self, routed: _Routed, scope: Scope, receive: Receive, send: Send) -> None:
        session, websocket = routed.transport, self._attach_websocket(routed)
        transport = AsgiTransport(self._options, scope, receive, send)
        try:
            async with asyncio.timeout(self._options.handshake_timeout):
                await send({"type": "websocket.accept"})
        except BaseException as error:
            session.abort() if routed.opens_session else session.disconnected(websocket)
            if isinstance(error, Exception):
                return
            raise
        transport.open(websocket)
        await transport.run()


def _error_reply(error: ErrorResponse, headers: tuple[tuple[str, str], ...] = ()) -> HttpReply:
    return HttpReply(error.status, error.body, headers, "application/json")
