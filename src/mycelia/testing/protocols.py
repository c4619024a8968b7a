"""The servers that the official tests of Engine.IO, Socket.IO and SockJS expect, as ASGI applications.

There is no kernel above them: what those tests find here is of the protocols.
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
from mycelia.testing.draft76 import OldHandshakes
from mycelia.testing.lifespan import AsgiApp, Told, serve_app, while_served
from mycelia.testing.sockjs import sockjs_app
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
        self._session.send([(payload, binary)])

    def heartbeat(self) -> None: ...

    def congested(self, full: bool) -> None: ...

    def ended(self, end: Ended) -> None: ...


class SocketioEcho:
    """Emits `auth` on connect, answers `message` with `message-back` and `message-with-ack` with an ack."""

    def __init__(self, session: SessionTransport) -> None:
        self._session, self._loop = session, asyncio.get_running_loop()
        self._namespaces = Namespaces(NamespaceLimits(), self._loop.time())

    def received(self, payload: bytes, binary: bool) -> None:
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

    def heartbeat(self) -> None: ...

    def congested(self, full: bool) -> None: ...

    def ended(self, end: Ended) -> None: ...


def protocol_app(name: str) -> AsgiApp:
    """The application for the tests of `engineio` (any path), `socketio` or `sockjs`."""
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

    return while_served(manager.serve, running)


async def serve_protocol(name: str, port: int, told: Told) -> None:
    """Serves the application for these tests until SIGINT or SIGTERM. Raises EngineError without uvicorn."""
    module, kind = "uvicorn.protocols.websockets.websockets_sansio_impl", "WebSocketsSansIOProtocol"

    def old(config: Any, **rest: Any) -> OldHandshakes:
        return OldHandshakes(config.loaded_app, lambda: getattr(import_module(module), kind)(config=config, **rest))

    await serve_app(
        protocol_app(name), port, told,
        http="h11",  # the other one sends chunks to clients of HTTP/1.0
        ws=old if name == "sockjs" else "websockets-sansio",
        # The tests' client inflates in a thread, so messages come later, and those of Engine.IO may look for one too
        # early. Those of Socket.IO overlook the second of two that come together, as they then do not.
        ws_per_message_deflate=name == "socketio",
    )  # fmt: skip
