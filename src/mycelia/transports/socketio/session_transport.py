"""One Engine.IO session with its I/O: the requests that wait, its WebSocket, and its timer.

`protocol.engineio.session` decides what a session does, and a `SessionTransport` does it. A `SessionHandler` uses the
session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

from mycelia.asgi.scope import Scope
from mycelia.protocol.engineio.actions import Action, CloseWebSocket, Ended, Heartbeat, Received, Respond, Write
from mycelia.protocol.engineio.session import Session
from mycelia.protocol.http.request import Handshake
from mycelia.protocol.ws.frames import text_header
from mycelia.scheduling.deadline_timer import DeadlineTimer
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.receive_budget import ReceiveBudget
from mycelia.transports.socketio.websocket_peer import WebSocketPeer

__all__ = ["SessionHandler", "SessionTransport"]

_HEADS = tuple(text_header(length + 1) + b"4" for length in range(1024))  # frame header and packet kind, by length


class SessionHandler(Protocol):
    """The user of a session. Calls return quickly and do not raise."""

    def received(self, payload: bytes, binary: bool) -> None:
        """Handle one message of the client."""

    def heartbeat(self) -> None:
        """Handle a pong of the client."""

    def congested(self, full: bool) -> None:
        """Handle a change of congestion: True if more than the high-water mark is buffered."""

    def ended(self, end: Ended) -> None:
        """Handle the end of the session; the last call, made exactly once."""


class SessionTransport:
    """One session and everything that carries it.

    Attributes:
        session: The state of the session.
        request: The request that opened the session.
        scope: The ASGI scope of that request, or None if uvicorn handed over its connection.
        deadline: The event-loop time by which the handshake of the first connection must be complete.
        handler: The user of the session.
        full: True while more than the high-water mark is buffered.
        held_bytes: The size of a packet whose attachments are still arriving.
    """

    def __init__(
        self,
        session: Session,
        request: Handshake,
        scope: Scope | None,
        options: EngineOptions,
        receive_budget: ReceiveBudget,
        create_handler: Callable[[SessionTransport], SessionHandler],
        on_end: Callable[[Session], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.session, self.request, self.scope = session, request, scope
        self.deadline = self._loop.time() + options.handshake_timeout
        self._high_water_bytes = options.high_water_bytes
        self._receive_budget, self._on_end = receive_budget, on_end
        self._timer = DeadlineTimer()
        self._websocket: WebSocketPeer | None = None
        self._held: list[Received] = []  # messages that came while reading was paused
        self._resumed: asyncio.Event | None = None  # set while reading is paused
        self.full = self._flushing = False
        self.held_bytes = 0
        self.handler = create_handler(self)

    # -- what its handler calls ----------------------------------------------------------------------

    @property
    def buffered(self) -> int:
        """The number of bytes that wait for a GET, or that the operating system has not taken yet."""
        transport = self._websocket.transport if self._websocket is not None else None
        return self.session.buffered + (0 if transport is None else transport.buffered)

    def send(self, messages: Iterable[tuple[bytes, bool]]) -> None:
        """Send messages. All messages of one iteration of the event loop share a response."""
        for payload, binary in messages:
            self.perform(self.session.send(payload, binary, more=True))
        if self.session.direct_websocket is None and not self._flushing and not self.session.over:
            self._flushing = True
            self._loop.call_soon(self._flush)
        self.update_congestion()

    def write(self, text: bytes) -> None:
        """Send one text message. This is a short cut of `send` for the most frequent case."""
        websocket: Any = self.session.direct_websocket  # a WebSocketPeer; `cast` would cost as much as the look-up
        if websocket is None:
            self.send(((text, False),))
        elif websocket.send_frame is not None and len(text) < len(_HEADS):
            websocket.send_frame(_HEADS[len(text)] + text)
        else:
            websocket.send(b"4" + text, False)

    def hold(self, held: int) -> None:
        """Set the number of bytes that are buffered for a packet whose attachments are still arriving."""
        change, self.held_bytes = held - self.held_bytes, held
        if change:
            self._receive_budget.changed(self, change)

    def fail(self, code: int, reason: str) -> None:
        """End the session because it holds too much memory. The receive-buffer budget calls this."""
        self.abort()

    def close(self, code: int, reason: str) -> None:
        """End the session after the queued messages are sent."""
        self.perform(self.session.close(self._loop.time(), code, reason))

    def abort(self) -> None:
        """End the session now."""
        self.perform(self.session.abort())

    def pause(self) -> None:
        """Stop reading: answer no POST, and read nothing from the WebSocket."""
        if self._resumed is None and not self.session.over:
            self._resumed = asyncio.Event()
            if self._websocket is not None and self._websocket.transport is not None:
                self._websocket.transport.pause()

    def resume(self) -> None:
        """Read again, after the messages that were held."""
        resumed, self._resumed = self._resumed, None
        if resumed is None:
            return
        resumed.set()
        held, self._held = self._held, []
        self.perform(held)
        if self._resumed is None and self._websocket is not None and self._websocket.transport is not None:
            self._websocket.transport.resume()

    # -- what its requests and its WebSocket report --------------------------------------------------

    async def wait_until_reading(self) -> None:
        """Wait while reading is paused."""
        while self._resumed is not None:
            await self._resumed.wait()

    def websocket_opened(self, websocket: WebSocketPeer) -> None:
        """Begin the session in a WebSocket."""
        self.perform(self.session.open_websocket(websocket))

    def frame_received(self, websocket: WebSocketPeer, payload: bytes, binary: bool) -> None:
        """Handle one message of a WebSocket."""
        paused = self._resumed is not None
        message = None if binary or paused else self.session.plain_message(websocket, payload)
        if message is not None:
            self.handler.received(message, False)
        else:
            self.perform(self.session.frame(websocket, payload, binary, self._loop.time()))

    def disconnected(self, key: object) -> None:
        """Handle the loss of a request or of a WebSocket."""
        self.perform(self.session.disconnected(key))
        if key is self._websocket:
            self._websocket = None

    def perform(self, actions: Iterable[Action]) -> None:
        """Do what the session asks for, and set the timer to its next deadline."""
        for action in actions:
            match action:
                case Received():
                    if self._resumed is not None:
                        self._held.append(action)
                    else:
                        self.handler.received(action.payload, action.binary)
                case Write():
                    websocket = cast(WebSocketPeer, action.key)
                    if websocket is not self._websocket:
                        self._use(websocket)
                    websocket.send(action.payload, action.binary)
                case Respond():
                    response = cast("asyncio.Future[Respond]", action.key)
                    if not response.done():
                        response.set_result(action)
                case CloseWebSocket():
                    cast(WebSocketPeer, action.key).close(action.code, action.reason)
                case Heartbeat():
                    self.handler.heartbeat()
                case Ended():
                    self._end(action)
        if self.full:
            self.update_congestion()
        if not self.session.over:
            self._timer.call_by(self.session.due, self._tick)

    def update_congestion(self) -> None:
        """Tell the handler if the session has become congested, or is no longer congested."""
        high = self._high_water_bytes
        full = self.buffered > (high // 4 if self.full else high)
        if full is not self.full and not self.session.over:
            self.full = full
            self.handler.congested(full)

    # -- inside --------------------------------------------------------------------------------------

    def _use(self, websocket: WebSocketPeer) -> None:
        """Send and read in this WebSocket from now on. A paused session stays paused, so that `_held` stays small."""
        self._websocket = websocket
        if self._resumed is not None and websocket.transport is not None:
            websocket.transport.pause()

    def _tick(self) -> None:
        self.perform(self.session.tick(self._loop.time(), reading=self._resumed is None))

    def _flush(self) -> None:
        self._flushing = False
        self.perform(self.session.flush())
        self.update_congestion()

    def _end(self, end: Ended) -> None:
        self._timer.cancel()
        self._held.clear()
        self.resume()
        self.hold(0)
        self._on_end(self.session)
        self.handler.ended(end)
