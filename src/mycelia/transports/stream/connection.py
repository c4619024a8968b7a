"""One WebSocket connection over a byte stream: handshake, closing and writing, the same for every library.

Libraries differ in how they read frames; a `Reader` does that. Everything else is here once, so that no engine is more
lenient than another. `handshake_response` checks the handshake, `protocol.ws.assembler` the fragments and text
messages. A Close frame is sent once and answered once, and no frame follows it (RFC 6455 §5.5.1, §7.1).

A connection needs no reader between two frames. So an engine can lend the same reader, with its buffers, to any
connection that has bytes. That is why an idle connection costs so little.
"""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from mycelia.protocol.http.request import HttpReply
from mycelia.protocol.wire.codes import Close, may_send
from mycelia.protocol.ws.assembler import Assembler, FrameFault, check_close
from mycelia.protocol.ws.frames import close_frame, frame, ping_frame, pong_frame
from mycelia.transports.seam import Control, Peer
from mycelia.transports.stream.handshake_response import Admitted, Rejected, parse_and_admit
from mycelia.transports.stream.host import ConnectionHost
from mycelia.transports.stream.reader import READ_BYTES, Reader
from mycelia.transports.stream.throttled_reader import ThrottledReader
from mycelia.transports.transport_state import TransportState

__all__ = ["StreamConnection"]

logger = logging.getLogger("mycelia.websocket.engine")

_CLOSE, _PING, _PONG = 0x8, 0x9, 0xA
# Constants, because reading a member of an Enum class costs as much as a call.
_HANDSHAKE, _OPEN = TransportState.HANDSHAKE, TransportState.OPEN
_CLOSING, _CLOSED = TransportState.CLOSING, TransportState.CLOSED
_EMPTY_CLOSE = b"\x88\x00"


class StreamConnection(ThrottledReader):
    """The transport of one peer and the asyncio protocol below it. One object, because there are many connections.

    Attributes:
        deadline: The event-loop time by which the handshake must be complete. The host sets it.
        held_bytes: The bytes of incomplete messages that this connection holds.
        peer: The receiver of events; absent before the handshake and after the end.
        assembler: Assembles fragments; None between messages.
    """

    __slots__ = (
        "_abort_timer", "_close_code", "_close_reason", "_full", "_head", "_pong", "_reader", "assembler", "deadline",
        "held_bytes", "peer",
    )  # fmt: skip

    _host: ConnectionHost
    peer: Peer

    def __init__(self, host: ConnectionHost) -> None:
        super().__init__()
        self._host = host
        self.held_bytes, self.deadline, self._full = 0, 0.0, False
        self._head: bytes = b""
        self._reader: Reader | None = None
        self.assembler: Assembler | None = None
        self._abort_timer: asyncio.TimerHandle | None = None
        self._pong: bytes | None = None
        self._close_code, self._close_reason = int(Close.ABNORMAL), ""

    # -- what asyncio calls --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._stream = cast(asyncio.Transport, transport)
        self._stream.set_write_buffer_limits(high=self._host.options.high_water_bytes)  # beyond it, `congested`
        self._host.connection_accepted(self)

    def get_buffer(self, hint: int) -> memoryview | bytearray:
        reader = self._reader
        if reader is None:
            if self.state is _HANDSHAKE:
                return self._host.scratch
            reader = self._reader = self._host.readers.acquire(self)
        buffer = reader.get_buffer(hint)
        return buffer if len(buffer) <= READ_BYTES else memoryview(buffer)[:READ_BYTES]

    def buffer_updated(self, count: int) -> None:
        reader = self._reader
        if reader is None:
            self._read_head(count)
        elif not reader.read(count) and reader is self._reader:
            self._reader = None
            self._host.readers.release(reader)
            if self.assembler is not None or self.held_bytes:
                self._account(0)
        elif reader is self._reader:
            self._account(reader.held_bytes)
        if count >= READ_BYTES:
            self.yield_turn()

    @property
    def is_parsing(self) -> bool:
        return self.state is _OPEN or (self.state is _CLOSING and self._reader is not self._host.sink)

    def _account(self, unfinished: int) -> None:
        """Report the bytes of unfinished messages that this connection holds."""
        held = unfinished + (self.assembler.buffered if self.assembler is not None else 0)
        if held != self.held_bytes and self.state is not _CLOSED:
            before, self.held_bytes = self.held_bytes, held
            self._host.receive_budget.changed(self, held - before)

    def pause_writing(self) -> None:
        self._full = True
        if self.state is _OPEN:
            self.peer.congested(True)

    def resume_writing(self) -> None:
        self._full = False
        if self.state is _OPEN:
            if self._pong is not None:
                self._stream.write(pong_frame(self._pong))
                self._pong = None
            self.peer.congested(False)

    def eof_received(self) -> None:
        """Close after the peer has closed its side. It may still read what was written, for `close_timeout`."""
        self.finish()

    def connection_lost(self, error: Exception | None) -> None:
        self.assembler = None
        self.drop_queued()
        self._account(0)
        opened, self.state = self.state is not _HANDSHAKE, _CLOSED
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        if self._reader is not None:
            self._host.readers.discard(self._reader)
            self._reader = None
        self._host.connection_lost(self)
        if opened:
            self.peer.closed(self._close_code, self._close_reason)
            del self.peer

    @property
    def address(self) -> str:
        """The peer's host; empty for a Unix socket."""
        peer = self._stream.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) else ""

    @property
    def descriptor(self) -> int:
        """The number of the file descriptor; -1 if there is none."""
        sock = self._stream.get_extra_info("socket")
        return -1 if sock is None else int(sock.fileno())

    # -- handshake -----------------------------------------------------------------------------------

    def _read_head(self, count: int) -> None:
        self._head += bytes(memoryview(self._host.scratch)[:count])
        secure = self._host.is_secure(self._stream)
        answer = parse_and_admit(self._head, self._stream.get_extra_info("peername"), secure, self._host)
        if isinstance(answer, Rejected):
            self._reject(answer.reply, head_only=answer.head_only)
        elif answer is not None:
            self._open(answer)

    def _open(self, answer: Admitted) -> None:
        rest, self._head = self._head[answer.head_bytes :], b""
        self._host.handshake_ended(self)
        self.state = _OPEN
        self._stream.write(answer.response)
        self.peer, self.compression = answer.accept.peer, answer.accept.compression
        self.peer.opened(self)
        self.feed(rest)

    def feed(self, data: bytes) -> None:
        """Read bytes that arrived with others, as if the event loop delivered them now."""
        while data and self.state is not _CLOSED:
            buffer = memoryview(self.get_buffer(len(data)))
            piece, data = data[: len(buffer)], data[len(buffer) :]
            buffer[: len(piece)] = piece
            self.buffer_updated(len(piece))

    def _reject(self, reply: HttpReply, *, head_only: bool = False) -> None:
        self._host.handshake_ended(self)
        self._reader = self._host.sink
        self._stream.write(reply.encode(head_only=head_only))
        self.finish()

    def expire(self) -> None:
        """Reject a handshake that took too long. The host calls this."""
        self._reject(HttpReply(408, b"expected the whole handshake sooner\n"))

    # -- frames in -----------------------------------------------------------------------------------

    def on_frame(self, opcode: int, fin: bool, rsv: int, payload: bytes) -> None:
        """Handle one frame. The payload of a compressed frame (RSV1) may be a view of memory that is used again.

        A subclass may pass a whole message that it has checked to `peer.received` itself, while `state` is OPEN and no
        `assembler` holds the beginning of another message.
        """
        if self.state is _CLOSED or self._reader is self._host.sink:
            return
        compression = self.compression
        if (
            compression is not None
            and (opcode < _CLOSE or (opcode == _CLOSE and self._queued))  # a Close must not overtake a message
            and self.should_queue(opcode, fin, rsv, payload)
        ):
            return
        try:
            assembler = self.assembler
            if assembler is None:
                inflate = None if compression is None else compression.inflate
                assembler = self.assembler = Assembler(self._host.options.max_message_bytes, inflate)
            message = assembler.feed(opcode, fin, rsv, payload)
            if opcode == _CLOSE:
                self._on_close(*check_close(payload))
        except FrameFault as fault:
            self.fail(fault.close_code, fault.reason)
            return
        if not assembler.open:
            self.assembler = None
        if compression is not None and message is not None:
            self.count_inflated(len(message[0]))
        if self.state is not _OPEN:
            return
        try:
            if message is not None:
                self.peer.received(*message)
            elif opcode == _PING:
                if self._full:
                    self._pong = payload  # answer only the newest, once the buffer drains (RFC 6455 §5.5.3)
                else:
                    self._stream.write(pong_frame(payload))
                self.peer.control(Control.PING, payload)
            elif opcode == _PONG:
                self.peer.control(Control.PONG, payload)
            elif opcode < _CLOSE:
                self.peer.control(Control.FRAGMENT if payload else Control.EMPTY_FRAGMENT, payload)
        except Exception:
            logger.exception("Peer.received or Peer.control raised; the connection is closed with 1011")
            self.fail(Close.INTERNAL_ERROR, "")

    def _on_close(self, code: int, reason: str) -> None:
        self._close_code, self._close_reason = code, reason
        self._drop_input()
        if self.state is _OPEN:
            self.state = _CLOSING
            self.peer.leaving()
            self._stream.write(close_frame(code) if may_send(code) else _EMPTY_CLOSE)
        self.finish()

    def fail(self, code: int, reason: str) -> None:
        """End the connection because the peer broke the protocol (RFC 6455 §7.1.7)."""
        if self.state is _CLOSED or self._reader is self._host.sink:
            return
        self._drop_input()
        if self.state is _OPEN:
            self.state = _CLOSING
            self.peer.failed(code, reason)
            self._stream.write(close_frame(code, reason))
        if self._stream.can_write_eof():
            self._stream.write_eof()
        self._abort_later()

    def _drop_input(self) -> None:
        reader, self._reader = self._reader, self._host.sink
        self.assembler = None
        self.drop_queued()
        self._account(0)
        if reader is not None:
            self._host.readers.discard(reader)

    # -- Transport -----------------------------------------------------------------------------------

    @property
    def buffered(self) -> int:
        return self._stream.get_write_buffer_size()

    def send(self, payload: bytes, binary: bool) -> None:
        if self.state is _OPEN:
            packer = frame if self.compression is None else self.compression.deflater.frame
            self._stream.write(packer(payload, binary))

    def ping(self, payload: bytes) -> None:
        if self.state is _OPEN:
            self._stream.write(ping_frame(payload))

    def close(self, code: int, reason: str) -> None:
        if self.state is not _OPEN:
            return
        closing = close_frame(code, reason)
        self.state = _CLOSING
        if self._full:
            self._stream.abort()  # the peer does not read, so a Close would not reach it
            return
        self._stream.write(closing)
        self._abort_later()
        self.resume()  # a paused connection would not see the peer's Close

    def abort(self) -> None:
        if self.state is not _CLOSED:
            if self.state is _OPEN:  # the peer of a half-open connection does not know this connection
                self.state = _CLOSING
            self._stream.abort()

    @property
    def native(self) -> object:
        return self._stream

    def accepted(self, connection_id: str) -> bool:
        return False

    def finish(self) -> None:
        """Close when everything is written, at the latest after `close_timeout`."""
        self._abort_later()
        self._stream.close()

    def _abort_later(self) -> None:
        if self._abort_timer is None:
            timeout = self._host.options.close_timeout
            self._abort_timer = self._host.loop.call_later(timeout, self._stream.abort)
