"""One Engine.IO session with what carries it: the requests that wait, its WebSocket, and its timer.

What the session answers is decided in `protocol.engineio_session`; a line does it. Whoever uses the session is its
rider: it is told of messages, of congestion, and of the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, cast

from mycelia.asgi.scope import Scope
from mycelia.protocol.engineio.actions import Beat, Ended, Hang, Output, Received, Reply, Write
from mycelia.protocol.engineio.session import Session
from mycelia.protocol.wire.codes import Close, may_send
from mycelia.protocol.ws.frames import text_header
from mycelia.protocol.ws.handshake import Handshake
from mycelia.scheduling.deadline_timer import DeadlineTimer
from mycelia.transports.seam import CanFrame, CanPause, Control, Transport

if TYPE_CHECKING:
    from mycelia.transports.socketio.session_manager import Station

__all__ = ["Line", "Rider", "Socket"]

_HEADS = tuple(text_header(length + 1) + b"4" for length in range(1024))  # what stands before a short message


class _Pipe(Transport, CanPause, Protocol):
    """What carries a WebSocket."""


class Rider(Protocol):
    """Who uses a session. Calls are plain, quick, and never raise."""

    def received(self, payload: bytes, binary: bool) -> None: ...

    def beat(self) -> None:
        """A sign of life has come that is no message."""

    def congested(self, full: bool) -> None: ...

    def ended(self, end: Ended) -> None:
        """The last call, made exactly once."""


class Line:
    """One session with what carries it."""

    def __init__(self, station: Station, sid: str, request: Handshake, scope: Scope | None = None) -> None:
        self._station, self._loop = station, asyncio.get_running_loop()
        self.request, self.scope = request, scope  # that opened it; no scope where the server knows nothing of it
        self.session = Session(sid, station.terms, self._loop.time())
        self.deadline = self._loop.time() + station.options.handshake_timeout
        self.rider: Rider = station.board(self)
        self._alarm = DeadlineTimer()
        self._socket: Socket | None = None
        self._held: list[Received] = []  # came while reading was paused
        self._resumed: asyncio.Event | None = None
        self.full = self._flushing = False
        self.held_bytes = 0  # of a packet whose attachments have not all come

    # -- what its rider calls ------------------------------------------------------------------------

    @property
    def buffered(self) -> int:
        """Bytes that wait for a GET, or for the server to take them."""
        socket = self._socket.transport if self._socket is not None else None
        return self.session.buffered + (0 if socket is None else socket.buffered)

    def send(self, messages: Iterable[tuple[bytes, bool]]) -> None:
        """Sends messages; what is sent in one turn of the loop shares a response."""
        for payload, binary in messages:
            self.do(self.session.send(payload, binary, more=True))
        if self.session.home is None and not self._flushing and not self.session.over:
            self._flushing = True
            self._loop.call_soon(self._flush)
        self.weigh()

    def write(self, text: bytes) -> None:
        """Sends one text; `send` in short."""
        home: Any = self.session.home  # a Socket; to say so by a call takes as long as the look itself
        if home is None:
            self.send(((text, False),))
        elif home.frames is not None and len(text) < len(_HEADS):
            home.frames(_HEADS[len(text)] + text)
        else:
            home.send(b"4" + text, False)

    def hold(self, held: int) -> None:
        """So many bytes are held of a packet whose attachments have not all come."""
        change, self.held_bytes = held - self.held_bytes, held
        if change:
            self._station.budget.changed(self, change)

    def fail(self, code: int, reason: str) -> None:
        """Ends the session, which holds too much (called by the budget)."""
        self.abort()

    def close(self, code: int, reason: str) -> None:
        """Ends the session behind what waits."""
        self.do(self.session.close(self._loop.time(), code, reason))

    def abort(self) -> None:
        """Ends the session now."""
        self.do(self.session.abort())

    def pause(self) -> None:
        """No more requests are answered, and nothing more is read."""
        if self._resumed is None and not self.session.over:
            self._resumed = asyncio.Event()
            if self._socket is not None and self._socket.transport is not None:
                self._socket.transport.pause()

    def resume(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is None:
            return
        resumed.set()
        held, self._held = self._held, []
        self.do(held)
        if self._resumed is None and self._socket is not None and self._socket.transport is not None:
            self._socket.transport.resume()

    # -- what happens to it --------------------------------------------------------------------------

    async def rested(self) -> None:
        """Waits while reading is paused."""
        while self._resumed is not None:
            await self._resumed.wait()

    def frame(self, socket: Socket, payload: bytes, binary: bool) -> None:
        text = None if binary or self._resumed is not None else self.session.message(socket, payload)
        if text is not None:
            self.rider.received(text, False)
        else:
            self.do(self.session.frame(socket, payload, binary, self._loop.time()))

    def gone(self, key: object) -> None:
        self.do(self.session.gone(key))
        if key is self._socket:
            self._socket = None

    def do(self, outputs: Iterable[Output]) -> None:
        """Does what the session says."""
        for each in outputs:
            match each:
                case Received():
                    if self._resumed is not None:
                        self._held.append(each)
                    else:
                        self.rider.received(each.payload, each.binary)
                case Write():
                    if each.key is not self._socket:
                        self._move(cast(Socket, each.key))
                    cast(Socket, each.key).send(each.payload, each.binary)
                case Reply():
                    future = cast("asyncio.Future[Reply]", each.key)
                    if not future.done():
                        future.set_result(each)
                case Hang():
                    cast(Socket, each.key).hang(each.code, each.reason)
                case Beat():
                    self.rider.beat()
                case Ended():
                    self._end(each)
        if self.full:
            self.weigh()
        if not self.session.over:
            self._alarm.call_by(self.session.due, self._tick)

    def _move(self, socket: Socket) -> None:
        """From now on this is the WebSocket; what was paused stays so, lest it fill `_held`."""
        self._socket = socket
        if self._resumed is not None and socket.transport is not None:
            socket.transport.pause()

    def _tick(self) -> None:
        self.do(self.session.tick(self._loop.time(), self._resumed is None))  # whom we do not read we do not judge

    def _flush(self) -> None:
        self._flushing = False
        self.do(self.session.flush())
        self.weigh()

    def weigh(self) -> None:
        """Tells the rider when too much waits, and when that is over."""
        high = self._station.options.high_water_bytes
        full = self.buffered > (high // 4 if self.full else high)
        if full is not self.full and not self.session.over:
            self.full = full
            self.rider.congested(full)

    def _end(self, end: Ended) -> None:
        self._alarm.cancel()
        self._held.clear()
        self.resume()
        self.hold(0)
        self._station.lost(self)
        self.rider.ended(end)


class Socket:
    """The peer of one WebSocket of a session, which `greets` when it is where the session began."""

    def __init__(self, line: Line, greets: bool) -> None:
        self._line, self._greets = line, greets
        self.transport: _Pipe | None = None
        self.frames: Callable[[bytes], None] | None = None  # takes finished frames
        self._hung: tuple[int, str] | None = None

    def send(self, payload: bytes, binary: bool) -> None:
        if self.transport is not None:
            self.transport.send(payload, binary)

    def hang(self, code: int, reason: str) -> None:
        self._hung = (code if may_send(code) else int(Close.NORMAL)), reason
        if self.transport is not None:
            self.transport.close(*self._hung)

    def opened(self, transport: Transport) -> None:
        self.transport = cast(_Pipe, transport)
        if isinstance(transport, CanFrame) and transport.compression is None:
            self.frames = transport.send_frame
        if self._hung is not None:
            self.transport.close(*self._hung)
        elif self._greets:
            self._line.do(self._line.session.open_websocket(self))

    def received(self, payload: bytes, binary: bool) -> None:
        self._line.frame(self, payload, binary)

    def control(self, kind: Control, payload: bytes) -> None: ...

    def congested(self, full: bool) -> None:
        self._line.weigh()

    def leaving(self) -> None: ...

    def failed(self, code: int, reason: str) -> None: ...

    def closed(self, code: int, reason: str) -> None:
        self._line.gone(self)
