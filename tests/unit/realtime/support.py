"""What the tests of the subsystem's rooms share: a transport in a list, and a subsystem without an engine."""

from __future__ import annotations

import asyncio
import json
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

from mycelia.kernel.subsystem import BaseSubsystem
from mycelia.kernel.system import MessageSystem
from mycelia.protocol.http.request import Handshake, Headers
from mycelia.protocol.ws.deflate import Compression
from mycelia.protocol.ws.frames import FrameParser, Opcode
from mycelia.realtime.config.config import load_config
from mycelia.realtime.connection.connection import WebSocketConnection
from mycelia.realtime.core import Runtime
from mycelia.transports.seam import Accept
from mycelia.websocket import WebSocketSubsystem

__all__ = ["FakeTransport", "PlainTransport", "Room", "TimeLoop", "handshake", "in_fake_time", "room", "turns", "until"]

CLIENT_HEADERS = (
    ("Host", "h"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
)


def handshake(*headers: tuple[str, str], target: str = "/ws") -> Handshake:
    return Handshake("GET", target, Headers([*CLIENT_HEADERS, *headers]), ("192.0.2.1", 5))


class PlainTransport:
    """A transport that can do nothing special: no frames, no pings, no pauses."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bool]] = []
        self.closings: list[tuple[int, str]] = []
        self.aborted = 0
        self.buffered = 0
        self.deadline: float | None = None
        self.compression: Compression | None = None
        self.acceptances: list[str] = []

    @property
    def native(self) -> object:
        return self

    def accepted(self, connection_id: str) -> bool:
        self.acceptances.append(connection_id)
        return False

    def send(self, payload: bytes, binary: bool) -> None:
        self.sent.append((payload, binary))

    def close(self, code: int, reason: str) -> None:
        self.closings.append((code, reason))

    def abort(self) -> None:
        self.aborted += 1


class FakeTransport(PlainTransport):
    """A transport that takes frames, pings and pauses."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.pings = 0
        self.reading: list[str] = []

    def send_frame(self, frame: bytes) -> None:
        self.writes.append(frame)

    def ping(self, payload: bytes) -> None:
        self.pings += 1

    def pause(self) -> None:
        self.reading.append("pause")

    def resume(self) -> None:
        self.reading.append("resume")

    @property
    def messages(self) -> list[Any]:
        """What was written, decoded as JSON texts."""
        frames = FrameParser(masked=False).feed(b"".join(self.writes))
        assert all(frame.opcode == Opcode.TEXT and frame.fin for frame in frames)
        return [json.loads(frame.payload) for frame in frames]


class Room:
    """A built system with a runtime whose engine is the test."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.system = MessageSystem("main")
        self.app = BaseSubsystem("app", ms=self.system)
        self.sockets = WebSocketSubsystem(ms=self.system, config={**config, "websocket": {"type": "memory"}})
        self.config = load_config(self.sockets.config)
        self._runtime: Runtime | None = None

    @property
    def runtime(self) -> Runtime:
        if self._runtime is None:
            self._runtime = Runtime(self.config, self.system, self.sockets)
        return self._runtime

    def admit(self, *headers: tuple[str, str], framed: bool = True) -> WebSocketConnection:
        """A connection whose handshake was accepted and which has no transport yet."""
        answer = self.runtime.gate.admit(self.config.websocket[0], framed, handshake(*headers))
        assert isinstance(answer, Accept) and isinstance(answer.peer, WebSocketConnection)
        return answer.peer

    def open(self, *headers: tuple[str, str]) -> tuple[WebSocketConnection, FakeTransport]:
        """An open connection and its transport."""
        connection, transport = self.admit(*headers), FakeTransport()
        connection.opened(transport)
        return connection, transport

    def open_plain(self, *headers: tuple[str, str]) -> tuple[WebSocketConnection, PlainTransport]:
        """An open connection on an engine that takes no frames."""
        connection, transport = self.admit(*headers, framed=False), PlainTransport()
        connection.opened(transport)
        return connection, transport


@asynccontextmanager
async def room(**config: Any) -> AsyncIterator[Room]:
    """A Room; leaving it loses every connection, and nothing may be left on the wheel."""
    made = Room(config)
    await made.app.build()
    await made.sockets.build()
    try:
        yield made
    finally:
        runtime = made.runtime
        for connection in runtime.connections.living():
            connection.closed(1006, "")
        await runtime.close(1.0)
        await made.system.dispose()
        assert len(runtime.heartbeat.wheel) == 0


async def until(happened: Callable[[], object]) -> None:
    """Lets the loop turn until something is true; the test's own limit ends it otherwise."""
    while not happened():
        await turns(1)


async def turns(count: int) -> None:
    """Lets the loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


class _Jump(selectors.SelectSelector):
    """Where a loop would wait, its time jumps to what it waits for."""

    loop: TimeLoop

    def select(self, timeout: float | None = None) -> Any:
        if timeout:
            self.loop.now += timeout
        return super().select(0)


class TimeLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop with a time of its own, which only passes while nothing is to be done."""

    def __init__(self) -> None:
        selector = _Jump()
        selector.loop = self
        self.now = 1000.0
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    async def reach(self, when: float) -> None:
        """Waits for a moment."""
        reached = self.create_future()
        self.call_at(when, reached.set_result, None)
        await reached


def in_fake_time(test: Callable[[TimeLoop], Coroutine[Any, Any, None]]) -> None:
    """Runs a coroutine in a loop whose time is made up."""
    loop = TimeLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(test(loop))
