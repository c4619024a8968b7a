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
from mycelia.protocol.engineio.packets import PacketFault, Terms
from mycelia.protocol.socketio.namespaces import Bounds, Called, Joining, Namespaces
from mycelia.testing.draft76 import OldHandshakes
from mycelia.testing.lifespan import AsgiApp, Told, serve_app, while_served
from mycelia.testing.sockjs import sockjs_app
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.socketio.session_manager import Station
from mycelia.transports.socketio.session_transport import Line, Rider

__all__ = ["PROTOCOLS", "EngineioEcho", "SocketioEcho", "protocol_app", "serve_protocol"]

PROTOCOLS = ("engineio", "socketio", "sockjs")
_TERMS = Terms(ping_interval=0.3, ping_timeout=0.2, max_payload_bytes=1_000_000)
_NAMESPACES = ("/", "/custom")


class EngineioEcho:
    """Sends every message back."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def received(self, payload: bytes, binary: bool) -> None:
        self._line.send([(payload, binary)])

    def beat(self) -> None: ...

    def congested(self, full: bool) -> None: ...

    def ended(self, end: Ended) -> None: ...


class SocketioEcho:
    """Emits `auth` on connect, answers `message` with `message-back` and `message-with-ack` with an ack."""

    def __init__(self, line: Line) -> None:
        self._line, self._loop = line, asyncio.get_running_loop()
        self._namespaces = Namespaces(Bounds(), self._loop.time())

    def received(self, payload: bytes, binary: bool) -> None:
        try:
            happening = self._namespaces.receive(payload, binary, self._loop.time())
        except PacketFault as fault:
            self._line.close(fault.close_code, fault.reason)
            return
        match happening:
            case Joining(namespace, auth) if namespace in _NAMESPACES:
                self._line.send(self._namespaces.accept(namespace, token_urlsafe(15)))
                self._line.send(self._namespaces.emit(namespace, ["auth", auth]))
            case Joining(namespace):
                self._line.send(self._namespaces.refuse(namespace, self._loop.time(), "Invalid namespace"))
            case Called(packet):
                name, *values = packet.value()
                if name == "message":
                    self._line.send(self._namespaces.emit(packet.namespace, ["message-back", *values]))
                elif name == "message-with-ack" and packet.id is not None:
                    self._line.send(self._namespaces.answer(packet.namespace, packet.id, values))

    def beat(self) -> None: ...

    def congested(self, full: bool) -> None: ...

    def ended(self, end: Ended) -> None: ...


def protocol_app(name: str) -> AsgiApp:
    """The application for the tests of `engineio` (any path), `socketio` or `sockjs`."""
    if name == "sockjs":
        return sockjs_app()
    riders: dict[str, Callable[[Line], Rider]] = {"engineio": EngineioEcho, "socketio": SocketioEcho}
    station = Station(EngineOptions(max_message_bytes=_TERMS.max_payload_bytes), _TERMS, riders[name])

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        try:
            yield
        finally:
            station.close()

    return while_served(station.serve, running)


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
