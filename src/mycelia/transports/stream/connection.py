"""One connection over a byte stream: handshake, closing and writing, the same for every library.

The libraries differ in how they read frames; that part is a `Reader`. All else that makes a TCP connection a
WebSocket is here, once, so that no engine is lenient where another is strict: the handshake is judged by
`protocol.handshake`, fragments and texts by `protocol.assembler`, and Close is sent once, answered once, and
followed by nothing (RFC 6455 §5.5.1, §7.1).

A reader may be borrowed: between frames a connection needs none, so an engine can lend one reader, with its
buffers, to whichever connection has bytes. That is why an idle connection costs so little.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from mycelia.protocol.wire.codes import Close, may_send
from mycelia.protocol.ws.assembler import Assembler, FrameFault, check_close
from mycelia.protocol.ws.frames import close_frame, frame, ping_frame, pong_frame
from mycelia.protocol.ws.handshake import HttpReply
from mycelia.transports.seam import Accept, Control
from mycelia.transports.stream.handshake_response import Refused, judge
from mycelia.transports.stream.reader import READ_BYTES, Reader, State
from mycelia.transports.stream.throttled_reader import PacedProtocol

if TYPE_CHECKING:
    from mycelia.transports.tcp.listener import StreamEngine

__all__ = ["StreamConnection"]

logger = logging.getLogger("mycelia.websocket.engine")

_CLOSE, _PING, _PONG = 0x8, 0x9, 0xA
_HANDSHAKE, _OPEN = State.HANDSHAKE, State.OPEN  # reading a member of an Enum class costs as much as a call
_EMPTY_CLOSE = b"\x88\x00"


class StreamConnection(PacedProtocol):
    """The transport of one peer, and the asyncio protocol beneath it: one object, since there are many."""

    __slots__ = (
        "_close_code", "_close_reason", "_deadline", "_full", "_head", "_pong", "_reader", "assembler", "deadline",
        "held_bytes", "peer",
    )  # fmt: skip

    def __init__(self, engine: StreamEngine) -> None:
        super().__init__(engine)
        self.held_bytes = 0  # of messages that are not complete
        self.deadline = 0.0  # of the handshake, in the loop's time; the engine sets it
        self._head: bytes = b""
        self._reader: Reader | None = None
        self.assembler: Assembler | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._full = False
        self._pong: bytes | None = None
        self._close_code, self._close_reason = int(Close.ABNORMAL), ""

    # -- what asyncio calls --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._stream = cast(asyncio.Transport, transport)
        self._stream.set_write_buffer_limits(high=self._engine.options.high_water_bytes)  # from there on `congested`
        self._engine.accepted(self)

    def get_buffer(self, hint: int) -> memoryview | bytearray:
        reader = self._reader
        if reader is None:
            if self.state is _HANDSHAKE:
                return self._engine.scratch
            reader = self._reader = self._engine.acquire(self)
        buffer = reader.get_buffer(hint)
        return buffer if len(buffer) <= READ_BYTES else memoryview(buffer)[:READ_BYTES]

    def buffer_updated(self, count: int) -> None:
        reader = self._reader
        if reader is None:
            self._read_head(count)
        elif not reader.read(count) and reader is self._reader:
            self._reader = None
            self._engine.release(reader)
            if self.assembler is not None or self.held_bytes:
                self._account(0)
        elif reader is self._reader:
            self._account(reader.held_bytes)
        if count >= READ_BYTES:
            self.rest()

    @property
    def parsing(self) -> bool:
        return self.state is _OPEN or (self.state is State.CLOSING and self._reader is not self._engine.sink)

    def _account(self, unfinished: int) -> None:
        """Tells the engine how much of unfinished messages this connection holds."""
        held = unfinished + (self.assembler.buffered if self.assembler is not None else 0)
        if held != self.held_bytes and self.state is not State.CLOSED:
            before, self.held_bytes = self.held_bytes, held
            self._engine.held(self, held - before)

    def pause_writing(self) -> None:
        self._full = True
        if self.state is State.OPEN:
            self.peer.congested(True)

    def resume_writing(self) -> None:
        self._full = False
        if self.state is State.OPEN:
            if self._pong is not None:
                self._stream.write(pong_frame(self._pong))
                self._pong = None
            self.peer.congested(False)

    def eof_received(self) -> None:
        """The peer sends no more. What is written may still reach it, within `close_timeout`."""
        self.finish()

    def connection_lost(self, error: Exception | None) -> None:
        self.assembler = None
        self.forget()
        self._account(0)
        opened, self.state = self.state is not State.HANDSHAKE, State.CLOSED
        if self._deadline is not None:
            self._deadline.cancel()
        if self._reader is not None:
            self._engine.discard(self._reader)
            self._reader = None
        self._engine.lost(self)
        if opened:
            self.peer.closed(self._close_code, self._close_reason)
            del self.peer

    @property
    def address(self) -> str:
        """Where the peer is; empty for a socket without addresses."""
        peer = self._stream.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) else ""

    @property
    def descriptor(self) -> int:
        """The number of its file descriptor; -1 when it has none."""
        sock = self._stream.get_extra_info("socket")
        return -1 if sock is None else int(sock.fileno())

    # -- handshake -----------------------------------------------------------------------------------

    def _read_head(self, count: int) -> None:
        self._head += bytes(memoryview(self._engine.scratch)[:count])
        verdict = judge(self._head, self._stream.get_extra_info("peername"), self._engine)
        if isinstance(verdict, Refused):
            self._refuse(verdict.reply, head_only=verdict.head_only)
        elif verdict is not None:
            rest, self._head = self._head[verdict.used :], b""
            self._open(verdict.accept, verdict.response, rest)

    def _open(self, answer: Accept, response: bytes, rest: bytes) -> None:
        self._engine.opened(self)
        self.state = State.OPEN
        self._stream.write(response)
        self.peer, self.compression = answer.peer, answer.compression
        self.peer.opened(self)
        self.feed(rest)

    def feed(self, data: bytes) -> None:
        """Reads bytes that came with others, as if the event loop brought them now."""
        while data and self.state is not State.CLOSED:
            buffer = memoryview(self.get_buffer(len(data)))
            piece, data = data[: len(buffer)], data[len(buffer) :]
            buffer[: len(piece)] = piece
            self.buffer_updated(len(piece))

    def _refuse(self, reply: HttpReply, *, head_only: bool = False) -> None:
        self._engine.opened(self)
        self._reader = self._engine.sink
        self._stream.write(reply.encode(head_only=head_only))
        self.finish()

    def expire(self) -> None:
        """The handshake took too long (called by the engine)."""
        self._refuse(HttpReply(408, b"expected the whole handshake sooner\n"))

    # -- frames in -----------------------------------------------------------------------------------

    def on_frame(self, opcode: int, fin: bool, rsv: int, payload: bytes) -> None:
        """Any frame; the payload of a compressed one (RSV1) may be a view of memory that is used again.

        A subclass may give a checked whole message to `peer.received` itself, while `state` is OPEN
        and no `assembler` holds the beginning of another.
        """
        if self.state is State.CLOSED or self._reader is self._engine.sink:
            return
        compression = self.compression
        if (
            compression is not None
            and (opcode < _CLOSE or (opcode == _CLOSE and self._waiting))  # which must not overtake a message
            and self.waits(opcode, fin, rsv, payload)
        ):
            return
        try:
            assembler = self.assembler
            if assembler is None:
                inflate = None if compression is None else compression.inflate
                assembler = self.assembler = Assembler(self._engine.options.max_message_bytes, inflate)
            message = assembler.feed(opcode, fin, rsv, payload)
            if opcode == _CLOSE:
                self._on_close(*check_close(payload))
        except FrameFault as fault:
            self.fail(fault.close_code, fault.reason)
            return
        if not assembler.open:
            self.assembler = None
        if compression is not None and message is not None:
            self.inflated(len(message[0]))
        if self.state is not State.OPEN:
            return
        try:
            if message is not None:
                self.peer.received(*message)
            elif opcode == _PING:
                if self._full:
                    self._pong = payload  # only the newest is answered, when there is room (RFC 6455 §5.5.3)
                else:
                    self._stream.write(pong_frame(payload))
                self.peer.control(Control.PING, payload)
            elif opcode == _PONG:
                self.peer.control(Control.PONG, payload)
            elif opcode < _CLOSE:
                self.peer.control(Control.FRAGMENT if payload else Control.EMPTY_FRAGMENT, payload)
        except Exception:
            logger.exception("a peer's callback failed")
            self.fail(Close.INTERNAL_ERROR, "")

    def _on_close(self, code: int, reason: str) -> None:
        self._close_code, self._close_reason = code, reason
        self._reader_to_sink()
        if self.state is State.OPEN:
            self.state = State.CLOSING
            self.peer.leaving()
            self._stream.write(close_frame(code) if may_send(code) else _EMPTY_CLOSE)
        self.finish()

    def fail(self, code: int, reason: str) -> None:
        """The peer broke the protocol: says why and hangs up (RFC 6455 §7.1.7)."""
        if self.state is State.CLOSED or self._reader is self._engine.sink:
            return
        self._reader_to_sink()
        if self.state is State.OPEN:
            self.state = State.CLOSING
            self.peer.failed(code, reason)
            self._stream.write(close_frame(code, reason))
        if self._stream.can_write_eof():
            self._stream.write_eof()
        self._abort_later()

    def _reader_to_sink(self) -> None:
        reader, self._reader = self._reader, self._engine.sink
        self.assembler = None
        self.forget()
        self._account(0)
        if reader is not None:
            self._engine.discard(reader)

    # -- Transport -----------------------------------------------------------------------------------

    @property
    def buffered(self) -> int:
        return self._stream.get_write_buffer_size()

    def send(self, payload: bytes, binary: bool) -> None:
        if self.state is State.OPEN:
            packer = frame if self.compression is None else self.compression.deflater.frame
            self._stream.write(packer(payload, binary))

    def send_frame(self, frame: bytes) -> None:
        if self.state is _OPEN:
            self._stream.write(frame)

    def ping(self, payload: bytes) -> None:
        if self.state is State.OPEN:
            self._stream.write(ping_frame(payload))

    def close(self, code: int, reason: str) -> None:
        if self.state is not State.OPEN:
            return
        closing = close_frame(code, reason)
        self.state = State.CLOSING
        if self._full:
            self._stream.abort()  # Close would stand behind what the peer does not read
            return
        self._stream.write(closing)
        self._abort_later()
        self.resume()  # a paused reader would not see the peer's Close

    def abort(self) -> None:
        if self.state is not State.CLOSED:
            if self.state is State.OPEN:  # a peer of a half-open connection was never told of it
                self.state = State.CLOSING
            self._stream.abort()

    @property
    def native(self) -> asyncio.Transport:
        return self._stream

    def accepted(self, connection_id: str) -> bool:
        return False

    def finish(self) -> None:
        """Closes when everything is written, and at the latest after `close_timeout`."""
        self._abort_later()
        self._stream.close()

    def _abort_later(self) -> None:
        if self._deadline is None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(self._engine.options.close_timeout, self._stream.abort)
