"""Engine.IO sessions on any ASGI server: HTTP long-polling, WebSocket, and the move from one to the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from secrets import token_urlsafe
from typing import Any

from mycelia.protocol.engineio import Refusal, Terms, judge
from mycelia.protocol.engineio_output import Reply
from mycelia.protocol.handshake import BadHandshake, Handshake, HttpReply
from mycelia.websocket.engines.asgi_scope import Receive, Scope, Send, answer, read_scope, refuse
from mycelia.websocket.engines.asgi_transport import AsgiTransport
from mycelia.websocket.engines.base import EngineOptions
from mycelia.websocket.engines.engineio_line import Line, Rider, Socket

__all__ = ["Station"]

_ABSENT = HttpReply(404, b"not found\n")
_BUSY = HttpReply(503, b"no room; try again later\n", (("Retry-After", "5"),))


class Station:
    """The sessions of one endpoint."""

    def __init__(self, options: EngineOptions, terms: Terms, board: Callable[[Line], Rider]) -> None:
        self.options, self.terms, self.board = options, terms, board
        self._lines: dict[str, Line] = {}

    def lost(self, line: Line) -> None:
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
            line = self._find(read_scope(scope, path), socket)
        except BadHandshake as bad:
            self.options.door.misread(bad.reply.status)
            line = bad.reply
        if isinstance(line, HttpReply):
            with suppress(OSError):  # it left without its answer
                await (refuse if socket else answer)(scope, send, line)
        elif socket:
            await self._serve_socket(line, scope, receive, send)
        else:
            await self._serve_request(line, scope, receive, send)

    def _find(self, request: Handshake, socket: bool) -> Line | HttpReply:
        """The session that a request names, or a new one."""
        if self.options.path.rstrip("/") not in ("", request.path.rstrip("/")):
            return _ABSENT
        sid = request.query.get("sid")
        line = self._lines.get(sid) if sid is not None else None
        refusal = judge(request.method, request.query, socket, line is not None)
        if refusal is not None:
            return _refusal(refusal)
        if line is not None:
            return line
        if not self.options.door.enter(request.remote[0] if request.remote else ""):
            return _BUSY
        line = Line(self, token_urlsafe(15), request)
        self._lines[line.session.sid] = line
        return line

    async def _serve_request(self, line: Line, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Reply] = loop.create_future()
        session = line.session
        try:
            if scope["method"] == "POST":
                line.do(session.post(answered, loop.time()))
                body = None if answered.done() else await _body(receive, self.terms.max_payload_bytes)
                if body is not None:
                    line.do(session.body(answered, body, loop.time()))
                    await line.rested()  # the next POST comes when this one is answered
            elif _names(scope):
                line.do(session.get(answered, loop.time()))
            else:
                line.do(session.open_polling(answered))
            reply = await _first(answered, receive)
        finally:
            if not answered.done():
                line.gone(answered)
        if reply is not None:
            with suppress(OSError):
                await answer(scope, send, HttpReply(reply.status, reply.body, (), reply.content_type))

    async def _serve_socket(self, line: Line, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        socket = Socket(line)
        known = _names(scope)
        if known:
            line.do(line.session.websocket(socket, loop.time()))
        transport = AsgiTransport(self.options, scope, receive, send)
        try:
            async with asyncio.timeout(self.options.handshake_timeout):
                await send({"type": "websocket.accept"})
        except BaseException as error:
            line.gone(socket) if known else line.abort()
            if isinstance(error, Exception):
                return
            raise
        transport.open(socket)
        if not known:
            line.do(line.session.open_websocket(socket))
        await transport.run()


def _refusal(refusal: Refusal) -> HttpReply:
    return HttpReply(refusal.status, refusal.body, (), "application/json")


def _names(scope: Scope) -> bool:
    """Whether a request names a session."""
    return "sid" in read_scope(scope).query


async def _body(receive: Receive, most: int) -> bytes | None:
    """The body of a request, of which no more is read than shows that it is too large; None when it breaks off."""
    parts: list[bytes] = []
    size, more = 0, True
    while more and size <= most:
        event = await receive()
        if event["type"] != "http.request":
            return None
        parts.append(event.get("body", b""))
        size += len(parts[-1])
        more = event.get("more_body", False)
    return b"".join(parts)


async def _first(answered: asyncio.Future[Reply], receive: Receive) -> Reply | None:
    """The answer; None when the client leaves before it."""
    if not answered.done():
        leaving = asyncio.get_running_loop().create_task(_until_left(receive), name="mycelia-engineio-leaving")
        try:
            both: list[asyncio.Future[Any]] = [answered, leaving]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            await asyncio.wait([leaving])
    return answered.result() if answered.done() else None


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
