"""One WebSocket of an ASGI server: whole messages in, one pump out.

The server has the socket. It reads when we ask for the next event, so not asking is how a transport pauses; it writes
when we await `send`, so what waits for that is held here, counted, and written in order by one task, which exists only
while there is something to write. Pings, fragments and the bytes of a Close are the server's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from mycelia.asgi.scope import Event, Receive, Scope, Send
from mycelia.protocol.wire.codes import Close, close_payload, may_send
from mycelia.protocol.ws.deflate import Compression
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.seam import Peer
from mycelia.transports.stream.reader import READ_BYTES
from mycelia.transports.transport_state import TransportState

__all__ = ["AsgiTransport"]

logger = logging.getLogger("mycelia.websocket.engine")

# Constants, because reading a member of an Enum class costs as much as a call.
_OPEN, _CLOSING = TransportState.OPEN, TransportState.CLOSING
_EVENT_BYTES = 16  # what an event counts for besides its payload, when turns of the loop are shared out


class AsgiTransport:
    """The transport of one peer; `run` must be awaited in the task that the server gave us.

    `native` is the scope, with whatever frameworks and middleware have put there.
    """

    __slots__ = (
        "_answering", "_cancelled", "_close", "_close_sent", "_code", "_deadline", "_failed", "_full", "_gone", "_loop",
        "_options", "_over", "_paused", "_peer", "_pump", "_queue", "_reason", "_receive", "_resumed", "_saying",
        "_scope", "_send", "_waiting", "buffered", "deadline", "state", "when_lost",
    )  # fmt: skip

    def __init__(self, options: EngineOptions, scope: Scope, receive: Receive, send: Send) -> None:
        self.state = TransportState.HANDSHAKE
        self.buffered = 0
        self.when_lost: Callable[[], object] | None = None
        self._options, self._scope, self._receive, self._send = options, scope, receive, send
        self._loop = asyncio.get_running_loop()
        self.deadline = self._loop.time() + options.handshake_timeout
        self._answering: asyncio.Timeout | None = None
        self._peer: Peer | None = None
        self._queue: deque[tuple[bytes, bool]] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._full = self._paused = False
        self._close: tuple[int, str] | None = None  # goes out behind the queue
        self._close_sent = self._failed = False
        self._gone = False  # the server has told of the end
        self._over = False  # it ends now, whatever waits
        self._waiting: asyncio.Task[object] | None = None  # which is waiting for the server, and may be cancelled
        self._cancelled = self._saying = False
        self._resumed: asyncio.Future[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._code, self._reason = int(Close.ABNORMAL), ""

    # -- Transport -----------------------------------------------------------------------------------

    def send(self, payload: bytes, binary: bool) -> None:
        if self.state is not _OPEN:
            return
        self._queue.append((payload, binary))
        self.buffered += len(payload)
        if self._pump is None:
            self._pump = self._loop.create_task(self._write_all(), name="mycelia-asgi-pump")
        if not self._full and self.buffered > self._options.high_water_bytes and self._peer is not None:
            self._full = True
            self._peer.congested(True)

    def pause(self) -> None:
        if self.state in (_OPEN, _CLOSING):
            self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._wake()

    def _wake(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)

    def close(self, code: int, reason: str) -> None:
        said = close_payload(code, reason)[2:].decode()  # raises for what may not be said
        if self.state is not _OPEN:
            return
        if self._full:
            self._close = code, said  # in case that it reads on after all
            self.abort()  # Close would stand behind what the peer does not read
            return
        self._end(code, said)

    def abort(self) -> None:
        if self.state is TransportState.CLOSED or self._over:
            return
        self._over = True
        if self.state is _OPEN:
            self.state = _CLOSING
        elif self.state is TransportState.HANDSHAKE and self._answering is not None:
            with suppress(RuntimeError):  # it is answered already
                self._answering.reschedule(self._loop.time())
        self._interrupt()

    @property
    def native(self) -> Scope:
        return self._scope

    @property
    def compression(self) -> Compression | None:
        return None  # the server compresses

    def accepted(self, connection_id: str) -> bool:
        return False

    # -- its life ------------------------------------------------------------------------------------

    async def answer(self, acceptance: Event) -> None:
        """Accepts the handshake, unless that takes until the deadline or until `abort`: TimeoutError."""
        async with asyncio.timeout_at(self.deadline) as self._answering:
            await self._send(acceptance)

    def open(self, peer: Peer) -> None:
        """The handshake is answered: the connection is this peer's."""
        self._peer = peer
        self.state = _CLOSING if self._over else _OPEN
        peer.opened(self)

    async def run(self) -> None:
        """Delivers what comes until the connection is over; `closed` has been called when it returns."""
        room = READ_BYTES
        task = asyncio.current_task()
        assert task is not None
        try:
            while not self._over and (event := await self._next(task)) is not None:
                if event["type"] != "websocket.receive":
                    self._on_disconnect(event)
                    break
                room -= self._on_message(event)
                if room <= 0:  # a server that has read much gives it without a turn of the loop in between
                    room = READ_BYTES
                    await asyncio.sleep(0)
        finally:
            self.lose()
        await self._hang_up()

    async def _next(self, task: asyncio.Task[object]) -> Event | None:
        """The server's next event; None when there will be none, or `abort` does not want it."""
        while not self._over:
            before = task.cancelling()
            self._waiting = task
            try:
                while self._paused or self._saying:
                    self._resumed = self._loop.create_future()
                    await self._resumed
                event = await self._receive()
            except asyncio.CancelledError:
                if not self._cancelled or task.uncancel() > before:
                    raise
            except Exception:
                logger.debug("the server has no more events", exc_info=True)
                self._gone = True
                return None
            else:
                if self._cancelled:
                    task.uncancel()
                return None if self._over else event
            finally:
                self._waiting, self._cancelled = None, False
        return None

    def _interrupt(self) -> None:
        """Stops waiting for the server's next event; unless it is over, the server is then asked anew."""
        if self._waiting is not None and not self._cancelled:
            self._cancelled = True
            self._waiting.cancel()

    def lose(self) -> None:
        """Tells the peer, once, that it is over."""
        if self.state is TransportState.CLOSED:
            return
        self.state = TransportState.CLOSED
        if self._deadline is not None:
            self._deadline.cancel()
        if self._pump is not None:
            self._pump.cancel()
        self._queue.clear()
        self.buffered = 0
        peer, self._peer = self._peer, None
        if peer is not None:
            peer.closed(self._code, self._reason)
        if self.when_lost is not None:
            self.when_lost()

    async def _hang_up(self) -> None:
        """Lets the server close a socket that is still open: ASGI has no other word for it than Close."""
        if self._pump is not None:
            await asyncio.wait([self._pump])
        if not self._gone and not self._close_sent:
            with suppress(Exception):
                async with asyncio.timeout(self._options.close_timeout):
                    await self._send_close(*(self._close or (int(Close.GOING_AWAY), "")))

    # -- in ------------------------------------------------------------------------------------------

    def _on_message(self, event: Event) -> int:
        """Delivers a message; returns what it counts for."""
        if self.state is not _OPEN or self._peer is None:
            return _EVENT_BYTES
        text, most = event.get("text"), self._options.max_message_bytes
        try:
            payload = bytes(event["bytes"]) if text is None else text.encode()
        except UnicodeEncodeError:
            self._fail(int(Close.INVALID_DATA), "text is not UTF-8")
            return _EVENT_BYTES
        if len(payload) > most:
            self._fail(int(Close.MESSAGE_TOO_BIG), f"message of {len(payload)} bytes, at most {most} allowed")
            return _EVENT_BYTES
        try:
            self._peer.received(payload, text is None)
        except Exception:
            logger.exception("a peer's callback failed")
            self._fail(int(Close.INTERNAL_ERROR), "")
        return len(payload) + _EVENT_BYTES

    def _on_disconnect(self, event: Event) -> None:
        self._gone = True
        if self._failed:
            return  # whoever broke the rules is not asked for a reason
        if self._close is not None and self._close_sent:
            self._code = self._close[0]  # what the client answered hardly any server says
            return
        code = event.get("code")
        self._code = int(code) if isinstance(code, int) else int(Close.NO_STATUS)  # some say it as a member of an Enum
        self._reason = str(event.get("reason") or "")
        if self.state is _OPEN:
            self.state = _CLOSING
            if self._code != Close.ABNORMAL and self._peer is not None:
                self._peer.leaving()

    def _fail(self, code: int, reason: str) -> None:
        """The peer broke a rule of ours: says why and ends (RFC 6455 §7.1.7)."""
        if self.state is _OPEN and self._peer is not None:
            self._failed = True
            self._peer.failed(code, reason)
            self._end(code, reason)

    # -- out -----------------------------------------------------------------------------------------

    def _end(self, code: int, reason: str) -> None:
        """Close goes out behind what waits; then what comes is dropped until the server tells of the end."""
        self.state = _CLOSING
        self._close = code, reason
        if self._pump is None:
            self._pump = self._loop.create_task(self._write_all(), name="mycelia-asgi-pump")
        self._abort_in_time()
        self.resume()  # a paused transport would not hear of the end

    def _abort_in_time(self) -> None:
        if self._deadline is None:
            self._deadline = self._loop.call_later(self._options.close_timeout, self.abort)

    async def _write_all(self) -> None:
        """The pump: one message after another, as the server takes them."""
        try:
            while self._queue:
                payload, binary = self._queue[0]
                if binary:
                    await self._send({"type": "websocket.send", "bytes": payload})
                else:
                    await self._send({"type": "websocket.send", "text": payload.decode()})
                self._queue.popleft()
                self.buffered -= len(payload)
                if self._full and self.buffered <= self._options.high_water_bytes // 4:
                    self._full = False
                    if self.state is _OPEN and self._peer is not None:
                        self._peer.congested(False)
            if self._close is not None:
                await self._send_close(*self._close)
        except Exception:  # ASGI says OSError; not every server does
            logger.debug("the server takes no more messages", exc_info=True)
            self._queue.clear()
            self.buffered = 0
            self._abort_in_time()
        finally:
            self._pump = None

    async def _send_close(self, code: int, reason: str) -> None:
        if self.state is _CLOSING:  # granian tells of no end while it is asked for the next event
            self._saying = True
            self._interrupt()
            await asyncio.sleep(0)
        given = code if may_send(code) else int(Close.NORMAL)  # ASGI has no Close without a code
        try:
            await self._send({"type": "websocket.close", "code": given, "reason": reason})
            self._close_sent = True
        finally:
            self._saying = False
            self._wake()
