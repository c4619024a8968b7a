"""The engine under any ASGI server: uvicorn, granian, hypercorn (`type: "asgi"`).

It listens nowhere. A server, or the application that the subsystem is mounted in, calls `serve` for each request; the
accept, the bytes and the pings are the server's. What a handshake may is decided by our gate as everywhere, and the
answer to it goes out before anything that may take time, so authentication and `connect` find a pending connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, ClassVar

from mycelia.asgi.scope import NOT_SERVING, Event, Receive, Scope, Send, answer, read_scope, refuse
from mycelia.protocol.http.request import BadHandshake, HttpReply
from mycelia.transports.asgi.transport import AsgiTransport
from mycelia.transports.base_engine import BaseEngine
from mycelia.transports.canned_responses import NO_ROOM, ask_gate
from mycelia.transports.seam import Accept
from mycelia.transports.transport_registry import TransportRegistry

__all__ = ["AsgiEngine"]

logger = logging.getLogger("mycelia.websocket.engine")

_OTHER_METHOD = HttpReply(405, b"expected GET or HEAD\n", (("Allow", "GET, HEAD"),))


class AsgiEngine(BaseEngine):
    """`type: "asgi"`. It has no library options, and no address: host and port are the server's."""

    name: ClassVar[str] = "asgi"
    capabilities: ClassVar[frozenset[str]] = frozenset({"codes", "pages", "payload", "subprotocols"})

    def __init__(self) -> None:
        super().__init__()
        self._transports = TransportRegistry()

    # -- the adapter's public face -------------------------------------------------------------------

    async def on_start(self) -> None: ...

    async def on_stop(self) -> None:
        """Refuses newcomers and ends every connection; the server may still be writing when it returns."""
        await self._transports.abort()

    # -- what an ASGI application calls --------------------------------------------------------------

    async def serve(self, scope: Scope, receive: Receive, send: Send, path: str | None = None) -> None:
        """Serves one `websocket` or `http` scope to its end; `path` stands for that of the scope."""
        if scope["type"] == "http":
            await _say(answer(scope, send, self._page(scope, path)))
            return
        if (await receive())["type"] != "websocket.connect":
            return
        transport = await self._shake_hands(scope, receive, send, path)
        if transport is not None:
            await transport.run()

    async def _shake_hands(self, scope: Scope, receive: Receive, send: Send, path: str | None) -> AsgiTransport | None:
        door, client = self.options.accept_control, scope.get("client")
        host = str(client[0]) if client else ""
        if not self._running or not door.acquire(host):
            await _say(refuse(scope, send, NO_ROOM if self._running else NOT_SERVING))
            return None
        try:
            verdict = self._judge(scope, path)
            if isinstance(verdict, HttpReply):
                await _say(refuse(scope, send, verdict))
                return None
            transport = AsgiTransport(self.options, scope, receive, send)
            transport.when_lost = lambda: self._transports.discard(transport)
            self._transports.add(transport)
            await self._accept(transport, verdict)
            return transport
        finally:
            door.release(host)

    async def _accept(self, transport: AsgiTransport, verdict: Accept) -> None:
        """Answers the handshake. The gate has let somebody in, who must be told of the end even if nobody is there."""
        peer = verdict.peer
        try:
            await transport.answer(_acceptance(verdict))
        except Exception:
            logger.debug("a handshake could not be answered", exc_info=True)
            transport.abort()
        except asyncio.CancelledError:
            transport.abort()
            transport.open(peer)
            transport.lose()
            raise
        transport.open(peer)

    # -- inside --------------------------------------------------------------------------------------

    def _judge(self, scope: Scope, path: str | None) -> Accept | HttpReply:
        """The gate's answer, or why it is not asked. Never raises."""
        try:
            request = read_scope(scope, path)
        except BadHandshake as bad:
            self.options.accept_control.record_bad_request(bad.reply.status)
            return bad.reply
        return ask_gate(self._admit, request)

    def _page(self, scope: Scope, path: str | None) -> HttpReply:
        """The answer to a plain request: a page of the application's, or why there is none."""
        if not self._running:
            return NOT_SERVING
        if scope["method"] not in ("GET", "HEAD"):
            return _OTHER_METHOD
        verdict = self._judge(scope, path)
        assert isinstance(verdict, HttpReply)
        return verdict


async def _say(answering: Awaitable[None]) -> None:
    """Lets a refusal or a page go out, if somebody is there to take it: ASGI says OSError, not every server does."""
    try:
        await answering
    except Exception:
        logger.debug("an answer could not be given", exc_info=True)


def _acceptance(verdict: Accept) -> Event:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in verdict.headers]
    event: dict[str, Any] = {"type": "websocket.accept", "subprotocol": verdict.subprotocol, "headers": headers}
    return event
