"""What the unit tests of realtime share: transports that record, and a subsystem without an engine."""

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
from mycelia.realtime.connection.link import Link
from mycelia.realtime.core import Core
from mycelia.transports.seam import Accept
from mycelia.websocket import WebSocketSubsystem

__all__ = [
    "FakeTransport",
    "PlainTransport",
    "Stage",
    "TimeLoop",
    "handshake",
    "in_fake_time",
    "staged",
    "turns",
    "until",
]

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


class Stage:
    """A built system with a core whose engine is the test."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.system = MessageSystem("main")
        self.app = BaseSubsystem("app", ms=self.system)
        self.sockets = WebSocketSubsystem(ms=self.system, config={**config, "websocket": {"type": "memory"}})
        self.config = load_config(self.sockets.config)
        self._core: Core | None = None

    @property
    def core(self) -> Core:
        if self._core is None:
            self._core = Core(self.config, self.system, self.sockets)
        return self._core

    def admit(self, *headers: tuple[str, str], framed: bool = True) -> Link:
        """A link whose handshake was accepted and which has no transport yet."""
        answer = self.core.admission.admit(self.config.websocket[0], framed, handshake(*headers))
        assert isinstance(answer, Accept) and isinstance(answer.peer, Link)
        return answer.peer

    def open(self, *headers: tuple[str, str]) -> tuple[Link, FakeTransport]:
        """An open link and its transport."""
        link, transport = self.admit(*headers), FakeTransport()
        link.opened(transport)
        return link, transport

    def open_plain(self, *headers: tuple[str, str]) -> tuple[Link, PlainTransport]:
        """An open link on an engine that takes no frames."""
        link, transport = self.admit(*headers, framed=False), PlainTransport()
        link.opened(transport)
        return link, transport


@asynccontextmanager
async def staged(**config: Any) -> AsyncIterator[Stage]:
    """A Stage; leaving it loses every connection, and nothing may be left on the timer wheel."""
    made = Stage(config)
    await made.app.build()
    await made.sockets.build()
    try:
        yield made
    finally:
        core = made.core
        for link in core.registry.with_transport():
            link.closed(1006, "")
        await core.close(1.0)
        await made.system.dispose()
        assert len(core.heartbeat.wheel) == 0


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
