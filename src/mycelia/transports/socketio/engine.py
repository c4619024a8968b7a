"""The engine for Socket.IO clients, under any ASGI server (`type: "socketio"`).

Engine.IO 4 and Socket.IO 5. It listens nowhere; a server, or the application that the subsystem is mounted in, calls
`serve` for each request at or below the endpoint's path. A client that has opened a session and asked for no namespace
counts as half open.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from mycelia.asgi.scope import NOT_SERVING, Receive, Scope, Send, answer, refuse
from mycelia.errors import EngineError
from mycelia.protocol.engineio.packets import Terms
from mycelia.protocol.socketio.codec import SocketioCodec
from mycelia.protocol.socketio.packets import MAIN, is_namespace
from mycelia.protocol.wire.codec import Codec
from mycelia.protocol.ws.handshake import Handshake, HttpReply
from mycelia.transports.base_engine import BaseEngine
from mycelia.transports.canned_responses import ask_gate
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.seam import Accept
from mycelia.transports.socketio.client import SocketioClient
from mycelia.transports.socketio.session_manager import Station
from mycelia.transports.socketio.session_transport import Line
from mycelia.transports.socketio.uvicorn_bridge import Carriage

__all__ = ["SocketioEngine"]

_UNKNOWN = HttpReply(404, b"Invalid namespace\n")


class SocketioEngine(BaseEngine):
    """`type: "socketio"`. Its library option `namespaces` lists those that there are (`["/"]`)."""

    name: ClassVar[str] = "socketio"
    prefix: ClassVar[bool] = True
    library_options: ClassVar[frozenset[str]] = frozenset({"namespaces"})
    codec: ClassVar[Codec | None] = SocketioCodec()

    def __init__(self) -> None:
        super().__init__()
        self._station: Station | None = None
        self.carriage = Carriage()  # of WebSockets that the server leaves to us
        self._namespaces: frozenset[str] = frozenset({MAIN})

    def configure(self, options: EngineOptions) -> None:
        super().configure(options)
        given = options.library.get("namespaces", (MAIN,))
        if isinstance(given, str) or not all(isinstance(name, str) and is_namespace(name) for name in given):
            raise EngineError(f"namespaces: expected names such as '/' and '/admin', got {given!r}")
        self._namespaces = frozenset(given)

    async def on_start(self) -> None:
        options = self.options
        terms = Terms(
            ping_interval=options.ping_interval or Terms().ping_interval,
            ping_timeout=options.ping_timeout,
            max_payload_bytes=options.max_message_bytes,
            close_timeout=options.close_timeout,
        )
        self._station = Station(options, terms, self._board)
        self.carriage.on("admit", self._station.meet)
        await self.carriage.start(replace(options, library={}))

    async def on_stop(self) -> None:
        """Refuses newcomers and ends every session; the server may still be writing when it returns."""
        station, self._station = self._station, None
        if station is not None:
            station.close()
            await self.carriage.stop()

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
            self.options.accept_control.record_bad_request(_UNKNOWN.status)
            return _UNKNOWN
        return NOT_SERVING if self._station is None else ask_gate(self._admit, request)
