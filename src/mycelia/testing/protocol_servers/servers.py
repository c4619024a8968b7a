"""The servers for the official tests, as ASGI applications: Engine.IO, Socket.IO and SockJS.

A failure that those tests find here is a failure of our implementation of the protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from secrets import token_urlsafe
from typing import Any

from mycelia.protocol.engineio.actions import Ended
from mycelia.protocol.engineio.packets import PacketFault
from mycelia.protocol.engineio.settings import Settings
from mycelia.protocol.socketio.namespaces import ConnectRequested, EventReceived, NamespaceLimits, Namespaces
from mycelia.testing.asgi_server import AsgiApp, OnListening, serve_app, with_lifespan
from mycelia.testing.protocol_servers.hixie76 import Hixie76Protocol
from mycelia.testing.protocol_servers.sockjs import sockjs_app
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.socketio.session_manager import SessionManager
from mycelia.transports.socketio.session_transport import SessionHandler, SessionTransport

__all__ = ["PROTOCOLS", "EngineioEcho", "SocketioEcho", "protocol_app", "serve_protocol"]

PROTOCOLS = ("engineio", "socketio", "sockjs")
_SETTINGS = Settings(ping_interval=0.3, ping_timeout=0.2, max_payload_bytes=1_000_000)
_NAMESPACES = ("/", "/custom")


class EngineioEcho:
    """Sends every message back."""

    def __init__(self, session: SessionTransport) -> None:
        self._session = session

    def received(self, payload: bytes, binary: bool) -> None:
        """Send the message back."""
        self._session.send([(payload, binary)])

    def heartbeat(self) -> None:
        """Ignore heartbeats."""

    def congested(self, full: bool) -> None:
        """Ignore a full send buffer."""

    def ended(self, end: Ended) -> None:
        """Ignore the end."""


class SocketioEcho:
    """Emits `auth` on connect, answers `message` with `message-back`, and `message-with-ack` with an ack."""

    def __init__(self, session: SessionTransport) -> None:
        self._session, self._loop = session, asyncio.get_running_loop()
        self._namespaces = Namespaces(NamespaceLimits(), self._loop.time())

    def received(self, payload: bytes, binary: bool) -> None:
        """Answer a packet."""
        try:
            event = self._namespaces.receive(payload, binary, self._loop.time())
        except PacketFault as fault:
            self._session.close(fault.close_code, fault.reason)
            return
        match event:
            case ConnectRequested(namespace, auth) if namespace in _NAMESPACES:
                self._session.send(self._namespaces.accept(namespace, token_urlsafe(15)))
                self._session.send(self._namespaces.emit(namespace, ["auth", auth]))
            case ConnectRequested(namespace):
                self._session.send(self._namespaces.reject(namespace, self._loop.time(), "Invalid namespace"))
            case EventReceived(packet):
                name, *values = packet.value()
                if name == "message":
                    self._session.send(self._namespaces.emit(packet.namespace, ["message-back", *values]))
                elif name == "message-with-ack" and packet.id is not None:
                    self._session.send(self._namespaces.acknowledge(packet.namespace, packet.id, values))

    def heartbeat(self) -> None:
        """Ignore heartbeats."""

    def congested(self, full: bool) -> None:
        """Ignore a full send buffer."""

    def ended(self, end: Ended) -> None:
        """Ignore the end."""


def protocol_app(name: str) -> AsgiApp:
    """Return the application for the tests of `engineio` (at any path), `socketio` or `sockjs`."""
    if name == "sockjs":
        return sockjs_app()
    handlers: dict[str, Callable[[SessionTransport], SessionHandler]] = {
        "engineio": EngineioEcho,
        "socketio": SocketioEcho,
    }
    manager = SessionManager(EngineOptions(max_message_bytes=_SETTINGS.max_payload_bytes), _SETTINGS, handlers[name])

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        try:
            yield
        finally:
            manager.close()

    return with_lifespan(manager.serve, running)


async def serve_protocol(name: str, port: int, on_listening: OnListening) -> None:
    """Serve the application for these tests until SIGINT or SIGTERM.

    Raises:
        EngineError: uvicorn is not installed.
    """
    module, kind = "uvicorn.protocols.websockets.websockets_sansio_impl", "WebSocketsSansIOProtocol"

    def hixie76(config: Any, **rest: Any) -> Hixie76Protocol:
        return Hixie76Protocol(config.loaded_app, lambda: getattr(import_module(module), kind)(config=config, **rest))

    await serve_app(
        protocol_app(name), port, on_listening,
        http="h11",  # httptools sends chunks to clients of HTTP/1.0
        ws=hixie76 if name == "sockjs" else "websockets-sansio",
        # With compression the test client inflates in a thread, so its messages arrive later. The Engine.IO tests would
        # then read one too early. The Socket.IO tests miss the second of two messages that arrive together, and with
        # compression messages do not arrive together.
        ws_per_message_deflate=name == "socketio",
    )  # fmt: skip
