"""One Socket.IO client: an Engine.IO session shared by its namespaces, each a connection of its own.

A CONNECT is what a handshake is elsewhere: the gate decides it, and the token in its auth payload comes before that of
the URL. It is answered when the connection has been accepted, or closed instead.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import cast
from urllib.parse import urlencode

from msgspec import Struct, json

from mycelia.protocol.codes import CLOSES, Close, close_payload, reconnects
from mycelia.protocol.credentials import BEARER_PREFIX
from mycelia.protocol.engineio import PacketFault
from mycelia.protocol.engineio_output import End, Ended
from mycelia.protocol.handshake import Accept, Handshake, Headers, HttpReply, UpgradedHandshake
from mycelia.protocol.namespaces import Acked, Bounds, Called, Joining, Left, Namespaces
from mycelia.protocol.socketio import MAIN
from mycelia.protocol.socketio_codec import AGREED, rejoin, split
from mycelia.websocket.engines.base import Control, EngineOptions, Peer
from mycelia.websocket.engines.engineio_line import Line

__all__ = ["Judge", "NamespaceTransport", "SocketioClient"]

logger = logging.getLogger("mycelia.websocket.engine")

_GREETING = b'2["websocket.connected",'
_OWN = frozenset({"EIO", "transport", "sid", "t", "b64", "j"})  # parameters of the protocol
_REPLACED = frozenset({"upgrade", "sec-websocket-protocol", "sec-websocket-extensions"})


class _Introduction(Struct, rename="camel"):
    connection_id: str


class _Greeting(Struct, array_like=True):
    name: str
    data: _Introduction


_greeting = json.Decoder(_Greeting).decode

Judge = Callable[[str, Handshake], Accept | HttpReply]
"""Decides a CONNECT to a namespace."""


class NamespaceTransport:
    """One namespace of one client, as the transport of a connection."""

    def __init__(self, client: SocketioClient, namespace: str) -> None:
        self._client, self._namespace = client, namespace
        self.peer: Peer | None = None
        self.closing: tuple[int, str] | None = None  # what this side closes with

    @property
    def buffered(self) -> int:
        return self._client.line.buffered

    def send(self, payload: bytes, binary: bool) -> None:
        if self.peer is None or self.closing is not None:
            return
        if self._client.namespaces.joined(self._namespace):
            self._client.line.send(split(payload, self._namespace))
        elif payload.startswith(_GREETING):
            sid = _greeting(payload[1:]).data.connection_id
            self._client.line.send(self._client.namespaces.accept(self._namespace, sid))

    def close(self, code: int, reason: str) -> None:
        """A client that should come back loses the session; any other is told, and stays away."""
        close_payload(code, reason)  # raises for what may not be said
        if self.peer is not None and self.closing is None:
            self.closing = code, reason
            asyncio.get_running_loop().call_soon(self.over, code, reason)
            self._client.dismiss(self._namespace, code, reason)

    def abort(self) -> None:
        if self.peer is not None:
            asyncio.get_running_loop().call_soon(self._abort)

    def pause(self) -> None:
        self._client.line.pause()

    def resume(self) -> None:
        self._client.line.resume()

    def extra(self, name: str) -> object:
        known: dict[str, object] = {"native": self._client.line, "deadline": self._client.line.deadline}
        return known.get(name)

    def over(self, code: int, reason: str) -> None:
        """Tells the peer, once, that it is over."""
        peer, self.peer = self.peer, None
        if peer is not None:
            self._client.left(self._namespace)
            peer.closed(code, reason)

    def _abort(self) -> None:
        self._client.dismiss(self._namespace, int(Close.ABNORMAL), "")
        self.over(int(Close.ABNORMAL), "")


class SocketioClient:
    """The rider of one session."""

    def __init__(self, line: Line, options: EngineOptions, admit: Judge) -> None:
        self.line, self._options, self._admit = line, options, admit
        self._loop = asyncio.get_running_loop()
        bounds = Bounds(
            packet_bytes=options.max_message_bytes, pending_acks=0, connect_timeout=options.handshake_timeout
        )
        self.namespaces = Namespaces(bounds, self._loop.time())
        self._transports: dict[str, NamespaceTransport] = {}
        self._host = line.request.remote[0] if line.request.remote else ""
        self._half_open = True
        self._over = False
        self._timer = self._loop.call_at(self.namespaces.due, self._check)

    # -- Rider ---------------------------------------------------------------------------------------

    def received(self, payload: bytes, binary: bool) -> None:
        if self._over:
            return
        try:
            happening = self.namespaces.receive(payload, binary, self._loop.time())
        except PacketFault as fault:
            self._fail(fault)
            return
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
            peer = transport.peer
            if peer is None or transport.closing is not None:
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
        """The server is done with a namespace; without any the session ends, or waits for the next CONNECT."""
        now, others = self._loop.time(), any(name != namespace for name in self._transports)
        if not self.namespaces.joined(namespace):
            known = CLOSES.get(Close(code)) if code in Close._value2member_map_ else None
            said = reason or (known.meaning if known is not None else "closed")
            self.line.send(self.namespaces.refuse(namespace, now, said, {"code": code}))
            self._watch()
            return
        if others or not (reconnects(code) or code == Close.ABNORMAL):
            self.line.send(self.namespaces.leave(namespace, now))
        if others:
            return
        if code == Close.ABNORMAL:
            self.line.abort()
        else:
            self.line.close(code, reason)

    def left(self, namespace: str) -> None:
        """A namespace's connection is over."""
        self._transports.pop(namespace, None)

    # -- inside --------------------------------------------------------------------------------------

    def _join(self, joining: Joining) -> None:
        name = joining.namespace
        verdict = self._admit(name, self._handshake(joining))
        if isinstance(verdict, HttpReply):
            said = verdict.body.decode("utf-8", "replace").strip()
            self.line.send(self.namespaces.refuse(name, self._loop.time(), said, {"status": verdict.status}))
            self._watch()
            return
        self._settled()
        self._watch()
        transport = self._transports[name] = NamespaceTransport(self, name)
        transport.peer = cast(Peer, verdict.peer)
        transport.peer.opened(transport)

    def _handshake(self, joining: Joining) -> Handshake:
        """The session's own request as if it had asked for a WebSocket, with what CONNECT brought."""
        request, token = self.line.request, joining.auth.get("token")
        offered = AGREED
        if isinstance(token, str) and token:
            offered += f", {BEARER_PREFIX}{urlsafe_b64encode(token.encode()).decode().rstrip('=')}"
        lines = [(key, value) for key, value in request.headers.items() if key.lower() not in _REPLACED]
        lines += [("upgrade", "websocket"), ("sec-websocket-protocol", offered)]
        query = [(key, value) for key, value in request.query.items() if key not in _OWN]
        if joining.namespace != MAIN:
            query.append(("namespace", joining.namespace))
        path = self._options.path or request.path
        target = f"{path}?{urlencode(query)}" if query else path
        shown = {key: value for key, value in joining.auth.items() if key != "token"}
        return UpgradedHandshake("GET", target, Headers(lines), request.remote, request.secure, shown)

    def _settled(self) -> None:
        """It is no longer half open."""
        if self._half_open:
            self._half_open = False
            self._options.door.leave(self._host)

    def _watch(self) -> None:
        self._timer.cancel()
        if not self._over and self.namespaces.due < self._loop.time() + 1e9:
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
        for transport in list(self._transports.values()):
            peer = transport.peer
            if peer is not None:
                peer.failed(fault.close_code, fault.reason)
                self._loop.call_soon(transport.over, int(Close.ABNORMAL), "")
        self.line.close(fault.close_code, fault.reason)
