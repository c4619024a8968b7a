"""HTTP long-polling for Engine.IO sessions: one GET or POST from its head to its response."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from mycelia.asgi.scope import Receive
from mycelia.net.peer_rules import cookie_origins
from mycelia.protocol.engineio.actions import Respond
from mycelia.protocol.http.origin import origin_allowed
from mycelia.protocol.http.request import Handshake, HttpReply
from mycelia.protocol.http.session_request import sent_headers
from mycelia.transports.receive_budget import ReceiveBudget
from mycelia.transports.request_body import Upload
from mycelia.transports.socketio.session_transport import SessionTransport

__all__ = ["Cors", "PollingRequests"]

T = TypeVar("T")
HeaderLines = tuple[tuple[str, str], ...]

_VARY = ("Vary", "Origin")


class Cors:
    """The CORS headers of an Engine.IO endpoint (Fetch standard, section 3.2).

    The caller has checked the origin before. Credentials such as cookies are allowed for origins that the configuration
    names, not for `*` and `null`.
    """

    def __init__(self, allowed_origins: tuple[str, ...]) -> None:
        self._trusted = cookie_origins(allowed_origins)

    def headers(self, request: Handshake) -> HeaderLines:
        """Return the headers that allow the page of an accepted origin to read the response."""
        origin = request.headers.get("origin")
        if origin is None:
            return (_VARY,)
        allowed = ("Access-Control-Allow-Origin", origin)
        if not origin_allowed(request, self._trusted):
            return (allowed, _VARY)
        return (allowed, ("Access-Control-Allow-Credentials", "true"), _VARY)

    def preflight(self, request: Handshake) -> HttpReply:
        """Return the response to a preflight request."""
        methods, max_age = ("Access-Control-Allow-Methods", "GET, POST"), ("Access-Control-Max-Age", "600")
        return HttpReply(204, b"", (*self.headers(request), methods, max_age, *sent_headers(request)))


class PollingRequests:
    """Handles the GET and POST requests of all sessions of one endpoint."""

    def __init__(self, receive_budget: ReceiveBudget, max_payload_bytes: int) -> None:
        self._receive_budget, self._max_payload_bytes = receive_budget, max_payload_bytes

    async def handle(
        self, request: Handshake, transport: SessionTransport, opens_session: bool, receive: Receive
    ) -> Respond | None:
        """Return the response to a request, or None if the client has left before it.

        Args:
            request: The request head.
            transport: The session of the request.
            opens_session: True if the request opens the session.
            receive: The ASGI `receive` callable of the request.
        """
        loop = asyncio.get_running_loop()
        response: asyncio.Future[Respond] = loop.create_future()
        session = transport.session
        try:
            if request.method == "POST":
                transport.perform(session.post(response, loop.time()))
                reading = Upload(self._receive_budget, transport.abort).read(receive, self._max_payload_bytes)
                body = await _unless_answered(response, reading)
                if body is not None:
                    await transport.wait_until_reading()  # another POST meanwhile ends the session: one body is held
                    transport.perform(session.body(response, body, loop.time()))
            elif opens_session:
                transport.perform(session.open_polling(response))
            else:
                transport.perform(session.get(response, loop.time()))
            if not response.done():
                await _unless_answered(response, _until_disconnected(receive))
            return response.result() if response.done() else None
        finally:
            if not response.done():
                transport.disconnected(response)


async def _unless_answered(response: asyncio.Future[Respond], reading: Coroutine[Any, Any, T]) -> T | None:
    """Return what `reading` returns, or None if the response is there first."""
    task = asyncio.get_running_loop().create_task(reading, name="mycelia-engineio-reading")
    try:
        both: list[asyncio.Future[Any]] = [response, task]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()
        await asyncio.wait([task])
    return None if response.done() or task.cancelled() else task.result()


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
