"""The engine for SockJS clients, under any ASGI server (`type: "sockjs"`): protocol 0.3.3, every transport of it.

It listens nowhere; a server, or the application that the subsystem is mounted in, calls `serve` for each request at or
below the endpoint's path. A session over HTTP is judged once, by the request that opens it, as a handshake is
elsewhere; requests are screened for their origin each. A message of ours is a text of SockJS, in either direction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from secrets import randbits
from typing import ClassVar, Literal
from urllib.parse import parse_qs

from mycelia.asgi.scope import NOT_SERVING, Receive, Scope, Send, answer, path_of, read_scope, refuse
from mycelia.config.sections import section
from mycelia.protocol.http.request import BadHandshake, Handshake, HttpReply
from mycelia.protocol.http.session_request import as_handshake, with_origin, without_offers
from mycelia.protocol.sockjs.endpoints import (
    GREETING,
    UNCACHED,
    Kind,
    Target,
    cors,
    find,
    framing,
    iframe,
    info,
    not_allowed,
    preflight,
    sticky,
)
from mycelia.protocol.sockjs.frames import PayloadFault, Quoter, is_callback, read_payload
from mycelia.protocol.sockjs.response_formats import CALLBACKS, style_of
from mycelia.protocol.sockjs.session import SessionTerms
from mycelia.transports.asgi.engine import AsgiEngine
from mycelia.transports.base_engine import BaseEngine
from mycelia.transports.canned_responses import ABSENT, NO_ROOM, ask_gate
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.receive_budget import ReceiveBudget
from mycelia.transports.request_body import Upload
from mycelia.transports.seam import Accept, Admit
from mycelia.transports.sockjs.options import SockjsOptions
from mycelia.transports.sockjs.session_transport import SockjsLine
from mycelia.transports.sockjs.websocket_session import SockjsSocket

__all__ = ["SockjsEngine"]

_NO_SOCKET = HttpReply(400, b'Can "Upgrade" only to "WebSocket".\n')
_LATE = HttpReply(408, b"expected the whole body in time\n")
_LINGERING = 1024  # sessions that are over and still say so; the oldest are forgotten first
_PLAIN = "text/plain; charset=UTF-8"
_NOSNIFF = ("X-Content-Type-Options", "nosniff")
_OWN = frozenset({"c", "t"})  # parameters of the protocol


class SockjsEngine(BaseEngine):
    """`type: "sockjs"`. Its library options are those of `SockjsOptions`."""

    name: ClassVar[str] = "sockjs"
    prefix: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.terms = SessionTerms()
        self.quoter = Quoter()
        self._chosen = SockjsOptions()
        self._lines: dict[str, SockjsLine] = {}
        self._lingering: dict[SockjsLine, None] = {}  # in the order of their ends
        self._budget = ReceiveBudget(self.options.inbound_bytes, self.options.max_message_bytes)
        self._raw, self._framed = AsgiEngine(), AsgiEngine()

    # -- the adapter's public face -------------------------------------------------------------------

    def on(self, event: Literal["admit"], handler: Admit) -> None:
        super().on(event, handler)
        self._raw.on("admit", handler)
        self._framed.on("admit", self._admit_framed)

    def configure(self, options: EngineOptions) -> None:
        self._chosen = section("websocket.options", SockjsOptions, options.library)
        self._budget = ReceiveBudget(options.inbound_bytes, options.max_message_bytes)
        self.terms = SessionTerms(
            heartbeat=options.ping_interval or SessionTerms().heartbeat,
            timeout=self._chosen.session_timeout,
            close_timeout=options.close_timeout,
            response_bytes=self._chosen.response_bytes,
        )

    async def on_start(self) -> None:
        for engine in (self._raw, self._framed):
            await engine.start(replace(self.options, library={}))

    async def on_stop(self) -> None:
        """Refuses newcomers and ends every session; the server may still be writing when it returns."""
        for line in list(self._lines.values()):
            line.forget()
        for engine in (self._raw, self._framed):
            await engine.stop()

    # -- what an ASGI application calls --------------------------------------------------------------

    async def serve(self, scope: Scope, receive: Receive, send: Send, path: str | None = None) -> None:
        """Serves one `websocket` or `http` scope to its end; `path` stands for that of the scope."""
        path = path_of(scope) if path is None else path
        own = self.options.path.rstrip("/")
        below = path.removeprefix(own) if path == own or path.startswith(f"{own}/") else "/-/"  # which is nowhere
        target = find(below)
        if scope["type"] == "websocket":
            await self._serve_socket(target, scope, receive, send)
            return
        try:
            request = with_origin(read_scope(scope, path), target is not None and target.transport == "jsonp")
            with suppress(OSError):  # it left without its answer
                await self._serve_request(target, request, scope, receive, send)
        except BadHandshake as bad:
            self.options.accept_control.record_bad_request(bad.reply.status)
            await answer(scope, send, bad.reply)

    # -- WebSockets ----------------------------------------------------------------------------------

    async def _serve_socket(self, target: Target | None, scope: Scope, receive: Receive, send: Send) -> None:
        engines = {Kind.RAW: self._raw, Kind.WEBSOCKET: self._framed}
        engine = engines.get(target.kind) if target is not None and self._chosen.websocket else None
        if engine is not None:
            await engine.serve(scope, receive, send, self.options.path or "/")
        elif (await receive())["type"] == "websocket.connect":
            with suppress(OSError):  # it left without its answer
                await refuse(scope, send, ABSENT if self._running else NOT_SERVING)

    def _admit_framed(self, request: Handshake) -> Accept | HttpReply:
        """The gate's answer; a SockJS client speaks JSON, whatever it offers."""
        assert self._admit is not None, "checked at the start"
        verdict = self._admit(replace(request, headers=without_offers(request.headers)))
        if isinstance(verdict, HttpReply):
            return verdict
        return Accept(SockjsSocket(verdict.peer, self.terms.heartbeat, self.quoter), None, verdict.headers)

    # -- plain requests ------------------------------------------------------------------------------

    async def _serve_request(
        self, target: Target | None, request: Handshake, scope: Scope, receive: Receive, send: Send
    ) -> None:
        reply = self._answer(target, request)
        if reply is not None:
            await answer(scope, send, reply)
        elif target is not None and target.kind is Kind.SEND:
            taken = await self._take(target, request, receive)
            if taken is not None:
                await answer(scope, send, self._dress(taken, request))
        elif target is not None:
            await self._give(target, request, scope, receive, send)

    def _answer(self, target: Target | None, request: Handshake) -> HttpReply | None:
        """What is answered at once; None for a request of a session that may be served."""
        if not self._running:
            return NOT_SERVING
        if target is None or (target.kind in (Kind.RAW, Kind.WEBSOCKET) and not self._chosen.websocket):
            return ABSENT
        if target.kind is Kind.IFRAME and self._chosen.client_url is None:
            return ABSENT
        if request.method not in target.methods:
            return not_allowed(target)
        if target.kind in (Kind.RAW, Kind.WEBSOCKET):
            return _NO_SOCKET
        if target.kind is Kind.GREETING:
            return GREETING
        if target.kind is Kind.IFRAME:
            return iframe(self._chosen.client_url or "", self.options.allowed_origins, request)
        refused = self.options.check_request(request)
        if refused is not None:
            return refused
        if request.method == "OPTIONS":
            return preflight(target, request)
        if target.kind is Kind.INFO:
            return info(self._chosen.websocket, self._chosen.cookie, randbits(32), request)
        return None

    async def _take(self, target: Target, request: Handshake, receive: Receive) -> HttpReply | None:
        """The answer to a request that brings messages; None when its client has left."""
        line = self._lines.get(target.session)
        if line is None or line.over:
            return ABSENT
        if line.crowded:
            return NO_ROOM
        async with line.turn():
            try:
                async with asyncio.timeout(self.options.handshake_timeout):
                    body = await Upload(self._budget, line.abort).read(receive, self.options.max_message_bytes)
            except TimeoutError:
                return _LATE
            if body is None:  # it has left, or too much was held
                return NO_ROOM if line.over else None
            if len(body) > self.options.max_message_bytes:
                return HttpReply(413, b"expected at most %d bytes\n" % self.options.max_message_bytes)
            jsonp = target.transport == "jsonp_send"
            try:
                messages = read_payload(_form(body, request) if jsonp else body)
            except PayloadFault as fault:
                return HttpReply(fault.status, fault.text.encode() + b"\n")
            await line.bring(messages)
        if jsonp:
            return HttpReply(200, b"ok", (("Content-Type", _PLAIN),))
        return HttpReply(204, b"", (("Content-Type", _PLAIN),))

    async def _give(self, target: Target, request: Handshake, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request that receives, and opens the session that there is not yet."""
        callback = request.query.get("c", "")
        if target.transport in CALLBACKS and not is_callback(callback):
            text = b'invalid "callback" parameter\n' if callback else b'"callback" parameter required\n'
            await answer(scope, send, self._dress(HttpReply(500, text), request))
            return
        line, peer = self._lines.get(target.session), None
        if line is not None:
            await line.vacated()
            line = self._lines.get(target.session)
        if line is None:
            verdict = self._judge(request) if self._running else NOT_SERVING
            if isinstance(verdict, HttpReply):
                await answer(scope, send, self._dress(verdict, request))
                return
            peer = verdict.peer
            line = self._lines[target.session] = SockjsLine(self, target.session, scope)
        headers = self._dress(HttpReply(200), request).headers
        if target.transport == "htmlfile":
            headers = (*headers, framing(self.options.allowed_origins))
        channel = line.receive(style_of(target.transport, callback), headers)
        if peer is not None:
            line.open(peer)
        await channel.run(receive, send)

    def _judge(self, request: Handshake) -> Accept | HttpReply:
        """The gate's answer to a session that begins. Never raises."""
        door, host = self.options.accept_control, request.remote[0] if request.remote else ""
        if not door.acquire(host):
            return NO_ROOM
        try:
            return ask_gate(self._admit, self._handshake(request))
        finally:
            door.release(host)

    def _handshake(self, request: Handshake) -> Handshake:
        """The request as if it had asked for a WebSocket at the endpoint itself."""
        given = request.target.partition("?")[2].split("&")
        query = "&".join(part for part in given if part.partition("=")[0] not in _OWN)  # the gate reads it as it came
        target = (self.options.path or "/") + (f"?{query}" if query else "")
        return as_handshake(request, target)

    def _dress(self, reply: HttpReply, request: Handshake) -> HttpReply:
        """An answer of a session with what all of them carry."""
        more: Sequence[tuple[str, str]] = (*UNCACHED, *cors(request), _NOSNIFF)
        if self._chosen.cookie:
            more = (*more, sticky(request))
        return replace(reply, headers=(*reply.headers, *more))

    # -- what its lines call -------------------------------------------------------------------------

    def ended(self, line: SockjsLine) -> None:
        self._lingering[line] = None
        if len(self._lingering) > _LINGERING:
            next(iter(self._lingering)).forget()

    def forget(self, line: SockjsLine) -> None:
        self._lingering.pop(line, None)
        if self._lines.get(line.name) is line:
            del self._lines[line.name]


def _form(body: bytes, request: Handshake) -> bytes:
    """The payload in the body of a form, or in a body that is none."""
    kind = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return body
    try:
        found = parse_qs(body.decode("ascii"), encoding="utf-8", errors="strict", max_num_fields=8)
    except ValueError:
        raise PayloadFault("Payload expected.") from None
    return found.get("d", [""])[0].encode()
