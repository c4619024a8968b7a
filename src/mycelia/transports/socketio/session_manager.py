"""Engine.IO sessions on any ASGI server: HTTP long-polling, WebSocket, and the move from one to the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from secrets import token_urlsafe
from typing import Any, NamedTuple, TypeVar

from mycelia.asgi.scope import Receive, Scope, Send, answer, read_scope, refuse
from mycelia.protocol.engineio.actions import Reply
from mycelia.protocol.engineio.packets import Refusal, Terms, judge
from mycelia.protocol.http.session_request import with_origin
from mycelia.protocol.ws.handshake import BadHandshake, Handshake, HttpReply, check_upgrade
from mycelia.transports.asgi.transport import AsgiTransport
from mycelia.transports.canned_responses import ABSENT, NO_ROOM
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.receive_budget import ReceiveBudget
from mycelia.transports.request_body import Upload
from mycelia.transports.seam import Accept
from mycelia.transports.socketio.cors import Cors
from mycelia.transports.socketio.session_transport import Line, Rider, Socket

__all__ = ["Station"]

T = TypeVar("T")

_UNCACHED = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))
_PARTING = 0.25  # seconds in which the last GET of a session may come that its client has closed


class _Trip(NamedTuple):
    """A request and the session that it is for; `known` when it names that."""

    request: Handshake
    line: Line
    known: bool


class Station:
    """The sessions of one endpoint."""

    def __init__(self, options: EngineOptions, terms: Terms, board: Callable[[Line], Rider]) -> None:
        self.options, self.terms, self.board = options, terms, board
        self.budget = ReceiveBudget(options.inbound_bytes, options.max_message_bytes)
        self._lines: dict[str, Line] = {}
        self._cors = Cors(options)

    def lost(self, line: Line) -> None:
        """The session is over; one that its client has closed still has an answer for a GET that was on its way."""
        later = asyncio.get_running_loop().call_later
        if line.session.parting:
            later(_PARTING, self._lines.pop, line.session.sid, None)
        else:
            self._lines.pop(line.session.sid, None)

    def close(self) -> None:
        """Ends every session now."""
        for line in list(self._lines.values()):
            line.abort()

    async def serve(self, scope: Scope, receive: Receive, send: Send, path: str | None = None) -> None:
        """Serves one `websocket` or `http` scope to its end; `path` stands for that of the scope."""
        socket = scope["type"] == "websocket"
        if socket and (await receive())["type"] != "websocket.connect":
            return
        try:
            request = read_scope(scope, path)
            trip = self._find(request if socket else with_origin(request), socket, scope)
        except BadHandshake as bad:
            self.options.accept_control.record_bad_request(bad.reply.status)
            trip = bad.reply
        if isinstance(trip, HttpReply):
            with suppress(OSError):  # it left without its answer
                await (refuse if socket else answer)(scope, send, trip)
        elif socket:
            await self._serve_socket(trip, scope, receive, send)
        else:
            await self._serve_request(trip, scope, receive, send)

    def _find(self, request: Handshake, socket: bool, scope: Scope | None) -> _Trip | HttpReply:
        """The session that a request names, or a new one; or the answer, where it is for none."""
        if self.options.path.rstrip("/") not in ("", request.path.rstrip("/")):
            return ABSENT
        foreign = self.options.check_request(request)
        if foreign is not None:
            return _told(Refusal.FORBIDDEN) if foreign.status == Refusal.FORBIDDEN.status else foreign
        if request.method == "OPTIONS" and not socket:
            return self._cors.preflight(request)
        query = request.query
        sid = query.get("sid")
        line = self._lines.get(sid) if sid is not None else None
        refusal = judge(request.method, query, socket, line is not None)
        if refusal is not None:
            return _told(refusal, self._cors.headers(request))
        if line is not None:
            return _Trip(request, line, True)
        if not self.options.accept_control.acquire(request.remote[0] if request.remote else ""):
            return replace(NO_ROOM, headers=(*NO_ROOM.headers, *self._cors.headers(request)))
        line = Line(self, token_urlsafe(15), request, scope)
        self._lines[line.session.sid] = line
        return _Trip(request, line, False)

    async def _serve_request(self, trip: _Trip, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Reply] = loop.create_future()
        line, session = trip.line, trip.line.session
        try:
            if trip.request.method == "POST":
                line.do(session.post(answered, loop.time()))
                reading = Upload(self.budget, line.abort).read(receive, self.terms.max_payload_bytes)
                body = await _first(answered, reading)
                if body is not None:
                    await line.rested()  # and nobody else may send meanwhile, so that no more than this is held
                    line.do(session.body(answered, body, loop.time()))
            elif trip.known:
                line.do(session.get(answered, loop.time()))
            else:
                line.do(session.open_polling(answered))
            if not answered.done():
                await _first(answered, _until_left(receive))
            reply = answered.result() if answered.done() else None
        finally:
            if not answered.done():
                line.gone(answered)
        if reply is not None:
            shown = (*_UNCACHED, *self._cors.headers(trip.request))
            with suppress(OSError):
                await answer(scope, send, HttpReply(reply.status, reply.body, shown, reply.content_type))

    def meet(self, request: Handshake) -> Accept | HttpReply:
        """Decides the handshake of a WebSocket that somebody else carries. Raises BadHandshake."""
        check_upgrade(request)
        trip = self._find(request, True, None)
        return trip if isinstance(trip, HttpReply) else Accept(self._socket(trip))

    def _socket(self, trip: _Trip) -> Socket:
        socket = Socket(trip.line, not trip.known)
        if trip.known:
            trip.line.do(trip.line.session.websocket(socket, asyncio.get_running_loop().time()))
        return socket

    async def _serve_socket(self, trip: _Trip, scope: Scope, receive: Receive, send: Send) -> None:
        line, socket = trip.line, self._socket(trip)
        transport = AsgiTransport(self.options, scope, receive, send)
        try:
            async with asyncio.timeout(self.options.handshake_timeout):
                await send({"type": "websocket.accept"})
        except BaseException as error:
            line.gone(socket) if trip.known else line.abort()
            if isinstance(error, Exception):
                return
            raise
        transport.open(socket)
        await transport.run()


def _told(refusal: Refusal, headers: tuple[tuple[str, str], ...] = ()) -> HttpReply:
    return HttpReply(refusal.status, refusal.body, headers, "application/json")


async def _first(answered: asyncio.Future[Reply], coming: Coroutine[Any, Any, T]) -> T | None:
    """What comes from the client; None when there is an answer before it."""
    reading = asyncio.get_running_loop().create_task(coming, name="mycelia-engineio-reading")
    try:
        both: list[asyncio.Future[Any]] = [answered, reading]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        reading.cancel()
        await asyncio.wait([reading])
    return None if answered.done() or reading.cancelled() else reading.result()


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
