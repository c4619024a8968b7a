"""The engine for Socket.IO clients, under any ASGI server (`type: "socketio"`): Engine.IO 4 and Socket.IO 5.

The engine does not listen. An ASGI server, or the application in which the subsystem is mounted, calls `serve` for each
request to the endpoint's path. A session is half open until it has a namespace.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from mycelia.asgi.scope import NOT_SERVING, Receive, Scope, Send, answer, refuse
from mycelia.errors import EngineError
from mycelia.protocol.engineio.settings import Settings
from mycelia.protocol.http.request import Handshake, HttpReply
from mycelia.protocol.socketio.attachments import MAIN
from mycelia.protocol.socketio.codec import SocketioCodec
from mycelia.protocol.socketio.packets import is_namespace
from mycelia.protocol.wire.codec import Codec
from mycelia.transports.base_engine import BaseEngine
from mycelia.transports.canned_responses import ask_gate
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.seam import Accept
from mycelia.transports.socketio.client import SocketioClient
from mycelia.transports.socketio.session_manager import SessionManager
from mycelia.transports.socketio.session_transport import SessionTransport
from mycelia.transports.socketio.uvicorn_bridge import UvicornBridge

__all__ = ["SocketioEngine"]

_UNKNOWN_NAMESPACE = HttpReply(404, b"Invalid namespace\n")


class SocketioEngine(BaseEngine):
    """The engine of `type: "socketio"`.

    The library option `namespaces` lists the names of the namespaces that clients may connect to (`["/"]`).

    Attributes:
        bridge: The engine of the WebSockets that uvicorn hands over.
    """

    name: ClassVar[str] = "socketio"
    prefix: ClassVar[bool] = True
    library_options: ClassVar[frozenset[str]] = frozenset({"namespaces"})
    codec: ClassVar[Codec | None] = SocketioCodec()

    def __init__(self) -> None:
        super().__init__()
        self._manager: SessionManager | None = None
        self.bridge = UvicornBridge()
        self._namespaces: frozenset[str] = frozenset({MAIN})

    def configure(self, options: EngineOptions) -> None:
        """Check the options, including the names of the namespaces.

        Args:
            options: The options of the next run.

        Raises:
            EngineError: An option is unknown, or `namespaces` has an invalid name.
        """
        super().configure(options)
        given = options.library.get("namespaces", (MAIN,))
        if isinstance(given, str) or not all(isinstance(name, str) and is_namespace(name) for name in given):
            raise EngineError(f"namespaces: expected a list of names such as '/' and '/admin', got {given!r}")
        self._namespaces = frozenset(given)

    async def on_start(self) -> None:
        """Prepare to serve, and start the bridge."""
        options = self.options
        settings = Settings(
            ping_interval=options.ping_interval or Settings().ping_interval,
            ping_timeout=options.ping_timeout,
            max_payload_bytes=options.max_message_bytes,
            close_timeout=options.close_timeout,
        )
        self._manager = SessionManager(options, settings, self._create_client)
        self.bridge.on("admit", self._manager.admit_websocket)
        await self.bridge.start(replace(options, library={}))

    async def on_stop(self) -> None:
        """Reject new requests and end every session. The server may still write when this returns."""
        manager, self._manager = self._manager, None
        if manager is not None:
            manager.close()
            await self.bridge.stop()

    async def serve(self, scope: Scope, receive: Receive, send: Send, path: str | None = None) -> None:
        """Serve one `websocket` or `http` scope. Returns when the request or the connection has ended.

        Args:
            scope: The ASGI scope.
            receive: The ASGI `receive` callable.
            send: The ASGI `send` callable.
            path: The path below the endpoint's mount point, or None to take it from the scope.
        """
        if self._manager is None:
            await (answer if scope["type"] == "http" else refuse)(scope, send, NOT_SERVING)
            return
        await self._manager.serve(scope, receive, send, path)

    # -- inside --------------------------------------------------------------------------------------

    def _create_client(self, session: SessionTransport) -> SocketioClient:
        return SocketioClient(session, self.options, self._admit_namespace)

    def _admit_namespace(self, namespace: str, request: Handshake) -> Accept | HttpReply:
        """Return the decision of the `admit` handler about a CONNECT. Never raises."""
        if namespace not in self._namespaces:
            self.options.accept_control.record_bad_request(_UNKNOWN_NAMESPACE.status)
            return _UNKNOWN_NAMESPACE
        return NOT_SERVING if self._manager is None else ask_gate(self._admit, request)
