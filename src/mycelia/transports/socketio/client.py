"""One Socket.IO client: an Engine.IO session shared by its namespaces, each a connection of its own.

A CONNECT is what a handshake is elsewhere: the gate decides it, and the token in its auth payload comes before that of
the URL. It is answered when the connection has been accepted, or closed instead.
"""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace
from math import inf
from urllib.parse import urlencode

from mycelia.protocol.engineio.actions import End, Ended
from mycelia.protocol.engineio.packets import PacketFault
from mycelia.protocol.http.credentials import BEARER_PREFIX
from mycelia.protocol.http.session_request import as_handshake
from mycelia.protocol.socketio.codec import AGREED, rejoin
from mycelia.protocol.socketio.namespaces import Acked, Bounds, Called, Joining, Left, Namespaces
from mycelia.protocol.socketio.packets import MAIN
from mycelia.protocol.wire.codes import CLOSES, Close, reconnects
from mycelia.protocol.ws.handshake import Handshake, HttpReply
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.seam import Accept, Control
from mycelia.transports.socketio.namespace_transport import NamespaceTransport
from mycelia.transports.socketio.session_transport import Line

__all__ = ["Judge", "SocketioClient"]

_LATER = (429, 503)  # refusals of who may come back, which clients do to a session that they have lost
_CODES = frozenset(map(int, Close))
_MOST_UNREAD = 16
_OWN = frozenset({"EIO", "transport", "sid", "t", "b64", "j"})  # parameters of the protocol

Judge = Callable[[str, Handshake], Accept | HttpReply]
"""Decides a CONNECT to a namespace."""


class SocketioClient:
    """The rider of one session."""

    def __init__(self, line: Line, options: EngineOptions, admit: Judge) -> None:
        self.line, self._options, self._admit = line, options, admit
        self._loop = asyncio.get_running_loop()
        bounds = Bounds(packet_bytes=options.max_message_bytes, connect_timeout=options.handshake_timeout)
        self.namespaces = Namespaces(bounds, self._loop.time())
        self._transports: dict[str, NamespaceTransport] = {}
        self._host = line.request.remote[0] if line.request.remote else ""
        self._half_open, self._over = True, False
        self._paused: set[NamespaceTransport] = set()
        self._unread = 0  # answers to CONNECT that were given while too much waited
        self._ending = False  # the session ends soon, for the server wants that
        self._timer = self._loop.call_at(self.namespaces.due, self._check)  # once it is ending, of the end

    # -- Rider ---------------------------------------------------------------------------------------

    def received(self, payload: bytes, binary: bool) -> None:
        if self._over:
            return
        if not binary and self.namespaces.passes(payload):
            if (main := self._transports.get(MAIN)) is not None and main.peer is not None:
                main.peer.received(payload, False)
            return
        try:
            happening = self.namespaces.receive(payload, binary, self._loop.time())
        except PacketFault as fault:
            self._fail(fault)
            return
        self.line.hold(self.namespaces.held_bytes)
        match happening:
            case Joining():
                self._join(happening)
            case Left():
                transport = self._transports.get(happening.namespace)
                if transport is not None and transport.peer is not None:
                    transport.peer.leaving()
                    transport.over(int(Close.NORMAL), "")
                self._watch()
            case Called() | Acked():
                transport = self._transports.get(happening.packet.namespace)
                if transport is not None and transport.peer is not None:
                    transport.peer.received(rejoin(happening.packet), False)

    def beat(self) -> None:
        for transport in list(self._transports.values()):
            if transport.peer is not None:
                transport.peer.control(Control.PONG, b"")

    def congested(self, full: bool) -> None:
        for transport in list(self._transports.values()):
            if transport.peer is not None:
                transport.peer.congested(full)

    def ended(self, end: Ended) -> None:
        self._over = True
        self._timer.cancel()
        self._settled()
        for transport in list(self._transports.values()):
            if (peer := transport.peer) is None or transport.closing is not None:
                continue  # it will be told what it asked for
            if end.why in (End.CLIENT, End.LOST):
                peer.leaving()
                transport.over(int(Close.NORMAL if end.why is End.CLIENT else Close.GOING_AWAY), "")
                continue
            if end.why is not End.SERVER:
                peer.failed(end.code, end.reason)
            transport.over(int(Close.ABNORMAL), "")

    # -- what its transports call --------------------------------------------------------------------

    def dismiss(self, namespace: str, code: int, reason: str) -> None:
        """The server is done with a namespace; without any the session ends.

        Clients come back to a lost session, never to a namespace that they were sent away from. So who shall come back
        to one loses the session, when the others have left it too, and soon.
        """
        now, others = self._loop.time(), any(name != namespace for name in self._transports)
        if not self.namespaces.joined(namespace) and (others or not reconnects(code)):
            known = CLOSES.get(Close(code)) if code in _CODES else None
            said = reason or (known.meaning if known is not None else "closed")
            self.line.send(self.namespaces.refuse(namespace, now, said, {"code": code}))
            self._watch()
            self._loop.call_soon(self._refused)
            return
        told, back = self.namespaces.leave(namespace, now), code == Close.ABNORMAL or reconnects(code)
        if not back:
            self.line.send(told)
        elif others and not self._ending:
            self._ending = True
            self._timer.cancel()
            self._timer = self._loop.call_later(self._options.close_timeout, self.line.close, code, reason)
        if others:
            return
        self._ending = True
        if code == Close.ABNORMAL:
            self.line.abort()
        else:
            self.line.close(code, reason)

    def pause(self, transport: NamespaceTransport) -> None:
        """Nothing more is read, for anybody, while one of the connections wants nothing."""
        self._paused.add(transport)
        self.line.pause()

    def resume(self, transport: NamespaceTransport) -> None:
        self._paused.discard(transport)
        if not self._paused:
            self.line.resume()

    def left(self, namespace: str, transport: NamespaceTransport) -> None:
        """A namespace's connection is over."""
        if self._transports.get(namespace) is transport:
            del self._transports[namespace]
        if transport in self._paused:
            self.resume(transport)
        self._linger()

    # -- inside --------------------------------------------------------------------------------------

    def _join(self, joining: Joining) -> None:
        name = joining.namespace
        self._unread = self._unread + 1 if self.line.full else 0
        if self._unread > _MOST_UNREAD:
            self._fail(PacketFault("expected a client that reads the answers to CONNECT", int(Close.SLOW_CONSUMER)))
            return
        verdict = self._admit(name, self._handshake(joining))
        if isinstance(verdict, HttpReply) and verdict.status in _LATER and not self._transports:
            self._ending = True
            self.line.close(int(Close.TRY_AGAIN_LATER), "no room; try again later")
            return
        if isinstance(verdict, HttpReply):
            said = verdict.body.decode("utf-8", "replace").strip()
            self.line.send(self.namespaces.refuse(name, self._loop.time(), said, {"status": verdict.status}))
            self._linger()
            self._refused()
            return
        deadline = self.line.deadline if self._half_open else self._loop.time() + self._options.handshake_timeout
        self._settled()
        self._watch()
        transport = self._transports[name] = NamespaceTransport(self, name, deadline)
        peer = transport.peer = verdict.peer
        peer.opened(transport)
        if self.line.full:
            peer.congested(True)

    def _handshake(self, joining: Joining) -> Handshake:
        """The session's own request as if it had asked for a WebSocket, with what CONNECT brought."""
        request, token = self.line.request, joining.auth.get("token")
        offered = AGREED
        if isinstance(token, str) and token:
            offered += f", {BEARER_PREFIX}{urlsafe_b64encode(token.encode()).decode().rstrip('=')}"
        query = [each for each in request.target.partition("?")[2].split("&") if each.partition("=")[0] not in _OWN]
        if joining.namespace != MAIN:
            query.append(urlencode({"namespace": joining.namespace}))
        path = self._options.path or request.path
        target = f"{path}?{'&'.join(query)}" if any(query) else path
        shown = {key: value for key, value in joining.auth.items() if key != "token"}
        return replace(as_handshake(request, target, ("sec-websocket-protocol", offered)), auth=shown)

    def _refused(self) -> None:
        """A CONNECT was refused; who asks on and on loses the session."""
        if not self._ending and not self._over and self._options.too_many_rejections(self.line.session.sid):
            self._fail(PacketFault("too many refused CONNECTs", int(Close.ABUSE)))

    def _linger(self) -> None:
        """A session without a connection is half open again, if there is room for one."""
        if not (self._transports or self._half_open or self._over or self._ending):
            self._half_open = self._options.accept_control.acquire(self._host)
            if not self._half_open:
                self.line.close(int(Close.TRY_AGAIN_LATER), "no room for a session without a namespace")
        self._watch()

    def _settled(self) -> None:
        """It is no longer half open."""
        if self._half_open:
            self._half_open = False
            self._options.accept_control.release(self._host)

    def _watch(self) -> None:
        if self._ending:
            return
        self._timer.cancel()
        if not self._over and self.namespaces.due != inf:
            self._timer = self._loop.call_at(self.namespaces.due, self._check)

    def _check(self) -> None:
        try:
            self.namespaces.check(self._loop.time())
        except PacketFault as fault:
            self._fail(fault)
        else:
            self._watch()

    def _fail(self, fault: PacketFault) -> None:
        """What is no packet ends the session."""
        self._ending = self._over = True
        for transport in list(self._transports.values()):
            if (peer := transport.peer) is not None:
                peer.failed(fault.close_code, fault.reason)
                self._loop.call_soon(transport.over, int(Close.ABNORMAL), "")
        self.line.close(fault.close_code, fault.reason)
