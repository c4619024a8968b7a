"""One Socket.IO client: an Engine.IO session whose namespaces are connections.

A CONNECT packet is the handshake of a connection. The application decides it like any other handshake; a token in the
auth payload takes precedence over a token in the URL. The answer follows when the application has accepted or closed
the connection.
"""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace
from math import inf
from urllib.parse import urlencode

from mycelia.protocol.engineio.actions import Ended, EndReason
from mycelia.protocol.engineio.packets import PacketFault
from mycelia.protocol.http.credentials import BEARER_PREFIX
from mycelia.protocol.http.request import Handshake, HttpReply
from mycelia.protocol.http.session_request import as_handshake
from mycelia.protocol.socketio.attachments import MAIN
from mycelia.protocol.socketio.codec import SUBPROTOCOL
from mycelia.protocol.socketio.namespaces import (
    AckReceived,
    ConnectRequested,
    EventReceived,
    NamespaceLeft,
    NamespaceLimits,
    Namespaces,
)
from mycelia.protocol.wire.codes import CLOSES, Close, reconnects
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.seam import Accept, Control
from mycelia.transports.socketio.namespace_transport import NamespaceTransport
from mycelia.transports.socketio.session_transport import SessionTransport

__all__ = ["AdmitNamespace", "SocketioClient"]

# Rejections after which the client should reconnect. Socket.IO clients do so only if they lose the session.
_RETRYABLE_STATUSES = (429, 503)
_CLOSE_CODES = frozenset(map(int, Close))
_MAX_UNREAD_ANSWERS = 16
_PROTOCOL_PARAMETERS = frozenset({"EIO", "transport", "sid", "t", "b64", "j"})

AdmitNamespace = Callable[[str, Handshake], Accept | HttpReply]
"""Decides a CONNECT to a namespace, given its name and the handshake of the connection."""


class SocketioClient:
    """The handler of one session, and the owner of its namespaces."""

    def __init__(self, session: SessionTransport, options: EngineOptions, admit: AdmitNamespace) -> None:
        self._session, self._options, self._admit = session, options, admit
        self._loop = asyncio.get_running_loop()
        limits = NamespaceLimits(packet_bytes=options.max_message_bytes, connect_timeout=options.handshake_timeout)
        self._namespaces = Namespaces(limits, self._loop.time())
        self._transports: dict[str, NamespaceTransport] = {}
        self._host = session.request.remote[0] if session.request.remote else ""
        self._half_open, self._over = True, False
        self._paused: set[NamespaceTransport] = set()
        self._unread_answers = 0  # answers to CONNECT that were sent while the session was congested
        self._ending = False  # the server has decided to end the session
        self._timer = self._loop.call_at(self._namespaces.due, self._check_timeout)

    # -- what its session calls ----------------------------------------------------------------------

    def received(self, payload: bytes, binary: bool) -> None:
        """Handle one message of the client."""
        if self._over:
            return
        if not binary and self._namespaces.is_plain_event(payload):
            if (main := self._transports.get(MAIN)) is not None and main.peer is not None:
                main.peer.received(payload, False)
            return
        try:
            event = self._namespaces.receive(payload, binary, self._loop.time())
        except PacketFault as fault:
            self._fail(fault)
            return
        self._session.hold(self._namespaces.held_bytes)
        match event:
            case ConnectRequested():
                self._connect(event)
            case NamespaceLeft():
                transport = self._transports.get(event.namespace)
                if transport is not None and transport.peer is not None:
                    transport.peer.leaving()
                    transport.end(int(Close.NORMAL), "")
                self._update_timer()
            case EventReceived() | AckReceived():
                transport = self._transports.get(event.packet.namespace)
                if transport is not None and transport.peer is not None:
                    transport.peer.received(event.packet.joined(), False)

    def heartbeat(self) -> None:
        """Report a pong to every connection, because limits on control messages count them."""
        for transport in list(self._transports.values()):
            if transport.peer is not None:
                transport.peer.control(Control.PONG, b"")

    def congested(self, full: bool) -> None:
        """Report a change of congestion to every connection."""
        for transport in list(self._transports.values()):
            if transport.peer is not None:
                transport.peer.congested(full)

    def ended(self, end: Ended) -> None:
        """End every connection, because the session has ended."""
        self._over = True
        self._timer.cancel()
        self._release_half_open()
        for transport in list(self._transports.values()):
            if (peer := transport.peer) is None or transport.closing is not None:
                continue  # the peer learns of the end that it asked for
            if end.why in (EndReason.CLIENT, EndReason.LOST):
                peer.leaving()
                transport.end(int(Close.NORMAL if end.why is EndReason.CLIENT else Close.GOING_AWAY), "")
                continue
            if end.why is not EndReason.SERVER:
                peer.failed(end.code, end.reason)
            transport.end(int(Close.ABNORMAL), "")

    # -- what its namespaces call --------------------------------------------------------------------

    def accept_namespace(self, namespace: str, connection_id: str) -> None:
        """Answer a CONNECT with the id of the accepted connection."""
        self._session.send(self._namespaces.accept(namespace, connection_id))

    def disconnect_namespace(self, namespace: str, code: int, reason: str) -> None:
        """Disconnect one namespace from the server side; end the session when no namespace is left.

        Clients reconnect after they lose a session, but not after the server disconnects a namespace. A close code that
        asks clients to reconnect therefore ends the whole session: at once if this is the only namespace, else with the
        last namespace. If the other namespaces stay, the session ends after `close_timeout`.
        """
        now, others = self._loop.time(), any(name != namespace for name in self._transports)
        if not self._namespaces.is_connected(namespace) and (others or not reconnects(code)):
            known = CLOSES.get(Close(code)) if code in _CLOSE_CODES else None
            message = reason or (known.meaning if known is not None else "closed")
            self._session.send(self._namespaces.reject(namespace, now, message, {"code": code}))
            self._update_timer()
            self._loop.call_soon(self._count_rejection)
            return
        messages = self._namespaces.disconnect(namespace, now)
        if code != Close.ABNORMAL and not reconnects(code):
            self._session.send(messages)
        elif others and not self._ending:
            self._ending = True
            self._timer.cancel()
            self._timer = self._loop.call_later(self._options.close_timeout, self._session.close, code, reason)
        if others:
            return
        self._ending = True
        if code == Close.ABNORMAL:
            self._session.abort()
        else:
            self._session.close(code, reason)

    def pause(self, transport: NamespaceTransport) -> None:
        """Stop reading the session while one of its connections is paused. All namespaces share one stream."""
        self._paused.add(transport)
        self._session.pause()

    def resume(self, transport: NamespaceTransport) -> None:
        """Read the session again, unless another connection is paused."""
        self._paused.discard(transport)
        if not self._paused:
            self._session.resume()

    def namespace_ended(self, namespace: str, transport: NamespaceTransport) -> None:
        """Forget a transport whose connection has ended."""
        if self._transports.get(namespace) is transport:
            del self._transports[namespace]
        if transport in self._paused:
            self.resume(transport)
        self._become_half_open()

    # -- inside --------------------------------------------------------------------------------------

    def _connect(self, event: ConnectRequested) -> None:
        name = event.namespace
        self._unread_answers = self._unread_answers + 1 if self._session.full else 0
        if self._unread_answers > _MAX_UNREAD_ANSWERS:
            problem = f"expected a client that reads the answers to CONNECT, got more than {_MAX_UNREAD_ANSWERS} unread"
            self._fail(PacketFault(problem, int(Close.SLOW_CONSUMER)))
            return
        decision = self._admit(name, _connect_handshake(self._session.request, self._options.path, event))
        if isinstance(decision, HttpReply):
            self._reject(name, decision)
            return
        now, options = self._loop.time(), self._options
        deadline = self._session.deadline if self._half_open else now + options.handshake_timeout
        self._release_half_open()
        self._update_timer()
        peer = decision.peer
        transport = self._transports[name] = NamespaceTransport(self, self._session, name, deadline, peer)
        peer.opened(transport)
        if self._session.full:
            peer.congested(True)

    def _reject(self, namespace: str, reply: HttpReply) -> None:
        if reply.status in _RETRYABLE_STATUSES and not self._transports:
            self._ending = True
            self._session.close(int(Close.TRY_AGAIN_LATER), "the server is full; try again later")
            return
        message = reply.body.decode("utf-8", "replace").strip()
        self._session.send(self._namespaces.reject(namespace, self._loop.time(), message, {"status": reply.status}))
        self._become_half_open()
        self._count_rejection()

    def _count_rejection(self) -> None:
        """Count a rejected CONNECT, and end the session if there were too many."""
        if not self._ending and not self._over and self._options.too_many_rejections(self._session.session.sid):
            self._fail(PacketFault("too many rejected CONNECT packets", int(Close.ABUSE)))

    def _become_half_open(self) -> None:
        """Count a session without a connection as half open again, or end it if too many sessions are half open."""
        if not (self._transports or self._half_open or self._over or self._ending):
            self._half_open = self._options.accept_control.acquire(self._host)
            if not self._half_open:
                problem = "too many half-open sessions; try again later"
                self._session.close(int(Close.TRY_AGAIN_LATER), problem)
        self._update_timer()

    def _release_half_open(self) -> None:
        if self._half_open:
            self._half_open = False
            self._options.accept_control.release(self._host)

    def _update_timer(self) -> None:
        if self._ending:
            return
        self._timer.cancel()
        if not self._over and self._namespaces.due != inf:
            self._timer = self._loop.call_at(self._namespaces.due, self._check_timeout)

    def _check_timeout(self) -> None:
        try:
            self._namespaces.check_timeout(self._loop.time())
        except PacketFault as fault:
            self._fail(fault)
        else:
            self._update_timer()

    def _fail(self, fault: PacketFault) -> None:
        """End the session and its connections because of an error of the client."""
        self._ending = self._over = True
        for transport in list(self._transports.values()):
            if (peer := transport.peer) is not None:
                peer.failed(fault.close_code, fault.reason)
                self._loop.call_soon(transport.end, int(Close.ABNORMAL), "")
        self._session.close(fault.close_code, fault.reason)


def _connect_handshake(request: Handshake, path: str, event: ConnectRequested) -> Handshake:
    """Return a CONNECT as a WebSocket handshake: the request that opened the session, with the auth payload."""
    token, offered = event.auth.get("token"), SUBPROTOCOL
    if isinstance(token, str) and token:
        offered += f", {BEARER_PREFIX}{urlsafe_b64encode(token.encode()).decode().rstrip('=')}"
    parameters = request.target.partition("?")[2].split("&")
    query = [each for each in parameters if each.partition("=")[0] not in _PROTOCOL_PARAMETERS]
    if event.namespace != MAIN:
        query.append(urlencode({"namespace": event.namespace}))
    path = path or request.path
    target = f"{path}?{'&'.join(query)}" if any(query) else path
    auth = {key: value for key, value in event.auth.items() if key != "token"}
    return replace(as_handshake(request, target, ("sec-websocket-protocol", offered)), auth=auth)
