"""The engine for Socket.IO clients, under any ASGI server (`type: "socketio"`).

Engine.IO 4 and Socket.IO 5. It listens nowhere; a server, or the application that the subsystem is mounted in, calls
`serve` for each request at or below the endpoint's path. A client that has opened a session and asked for no namespace
counts as half open.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from mycelia.asgi.scope import NOT_SERVING, Receive, Scope, Send, answer, refuse
from mycelia.errors import EngineError
from mycelia.protocol.engineio.packets import Terms
from mycelia.protocol.socketio.codec import SocketioCodec
from mycelia.protocol.socketio.packets import MAIN, is_namespace
from mycelia.protocol.wire.codec import Codec
from mycelia.protocol.ws.handshake import Accept, Handshake, HttpReply
from mycelia.transports.canned_responses import ask_gate
from mycelia.transports.seam import Admit, EngineOptions, check_event, check_start
from mycelia.transports.socketio.client import SocketioClient
from mycelia.transports.socketio.session_manager import Station
from mycelia.transports.socketio.session_transport import Line
from mycelia.transports.socketio.uvicorn_bridge import Carriage

__all__ = ["SocketioEngine"]

_UNKNOWN = HttpReply(404, b"Invalid namespace\n")


class SocketioEngine:
    """`type: "socketio"`. Its library option `namespaces` lists those that there are (`["/"]`)."""

    name: str = "socketio"
    framed: ClassVar[bool] = False
    prefix: ClassVar[bool] = True
    abilities: ClassVar[frozenset[str]] = frozenset()
    codec: ClassVar[Codec] = SocketioCodec()

    def __init__(self) -> None:
        self.options = EngineOptions()
        self._admit: Admit | None = None
        self._station: Station | None = None
        self.carriage = Carriage()  # of WebSockets that the server leaves to us
        self._namespaces: frozenset[str] = frozenset({MAIN})

    def on(self, event: Literal["admit"], handler: Admit) -> None:
        check_event(event)
        self._admit = handler

    async def start(self, options: EngineOptions) -> None:
        check_start(self.name, self._station is not None, self._admit, options.library, ("namespaces",))
        given = options.library.get("namespaces", (MAIN,))
        if isinstance(given, str) or not all(isinstance(name, str) and is_namespace(name) for name in given):
            raise EngineError(f"namespaces: expected names such as '/' and '/admin', got {given!r}")
        self._namespaces = frozenset(given)
        self.options = options
        terms = Terms(
            ping_interval=options.ping_interval or Terms().ping_interval,
            ping_timeout=options.ping_timeout,
            max_payload_bytes=options.max_message_bytes,
            close_timeout=options.close_timeout,
        )
        self._station = Station(options, terms, self._board)
        self.carriage.on("admit", self._station.meet)
        await self.carriage.start(replace(options, library={}))

    async def stop(self) -> None:
        """Refuses newcomers and ends every session; the server may still be writing when it returns."""
        station, self._station = self._station, None
        if station is not None:
            station.close()
            await self.carriage.stop()

    def address(self) -> tuple[str, int] | None:
        return None

    async def serve(self, scope: Scope, receive: Receive, send: Send, path: str | None = None) -> None:
        """Serves one `websocket` or `http` scope to its end; `path` stands for that of the scope."""
        if self._station is None:
            await (answer if scope["type"] == "http" else refuse)(scope, send, NOT_SERVING)
            return
        await self._station.serve(scope, receive, send, path)

    # -- inside --------------------------------------------------------------------------------------

    def _board(self, line: Line) -> SocketioClient:
        return SocketioClient(line, self.options, self._judge)

    def _judge(self, namespace: str, request: Handshake) -> Accept | HttpReply:
        """The gate's answer to a CONNECT. Never raises."""
        if namespace not in self._namespaces:
            self.options.door.misread(_UNKNOWN.status)
            return _UNKNOWN
        return NOT_SERVING if self._station is None else ask_gate(self._admit, request)
