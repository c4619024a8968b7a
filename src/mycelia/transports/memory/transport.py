"""The server's end of a connection in memory: the same states, verdicts and codes as over a stream.

Everything that the client sends reaches the peer in a later turn of the loop, a bounded amount each, so code
above meets the re-entrancy of real sockets. A paused transport holds what the client sends; when that is
`socket_bytes`, the client waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from mycelia.protocol.wire.codes import Close, close_payload, may_send
from mycelia.protocol.ws.assembler import Assembler, FrameFault, check_close
from mycelia.protocol.ws.deflate import Compression
from mycelia.protocol.ws.frames import Frame, Opcode, header
from mycelia.protocol.ws.handshake import (
    BadHandshake,
    Handshake,
    HttpReply,
    accept_response,
    check_upgrade,
    read_request,
)
from mycelia.transports.memory.socket import MemorySocket, Opened
from mycelia.transports.seam import Control, Peer
from mycelia.transports.stream.reader import State

if TYPE_CHECKING:
    from mycelia.transports.memory.engine import MemoryEngine

__all__ = ["MemoryTransport"]

logger = logging.getLogger("mycelia.websocket.engine")

_READ_BYTES = 64 * 1024  # how much one turn of the loop delivers to a peer


class MemoryTransport:
    """The server's end of one connection in memory."""

    def __init__(self, engine: MemoryEngine, remote: tuple[str, int], secure: bool) -> None:
        self.state = State.HANDSHAKE
        self.held_bytes = 0  # of a message that is not complete
        self._inside = False  # the door let it in and has not been told that its handshake is over
        self.socket = MemorySocket(self, remote)
        self._engine, self._secure = engine, secure
        self._loop = asyncio.get_running_loop()
        self._head, self._arrived_bytes = b"", 0
        self._arrived: deque[Frame] = deque()
        self._assembler = Assembler(engine.options.max_message_bytes)
        self._pong: bytes | None = None
        self._full = self._paused = self._hung_up = self._turn_due = self._losing = False
        self._deaf = False  # what comes is thrown away: its Close has come, or it broke the rules
        self._finishing = False  # ends when the client has read enough
        self._close_code, self._close_reason = int(Close.ABNORMAL), ""
        self._peer: Peer | None = None
        self.compression: Compression | None = None
        self.deadline = self._loop.time() + engine.options.handshake_timeout
        self._deadline = self._loop.call_at(self.deadline, self._expire)

    def enter(self) -> bool:
        """Knocks at the door; called once, before anything else."""
        self._inside = self._engine.options.accept_control.acquire(self.socket.remote[0])
        return self._inside

    def _settled(self) -> None:
        if self._inside:
            self._inside = False
            self._engine.options.accept_control.release(self.socket.remote[0])

    # -- Transport -----------------------------------------------------------------------------------

    @property
    def buffered(self) -> int:
        return max(0, self.socket.unread_bytes - self._engine.socket_bytes)

    def send(self, payload: bytes, binary: bool) -> None:
        if self.state is State.OPEN:
            self._write(Opcode.BINARY if binary else Opcode.TEXT, payload)

    def ping(self, payload: bytes) -> None:
        header(Opcode.PING, len(payload))
        if self.state is State.OPEN:
            self._write(Opcode.PING, payload)

    def pause(self) -> None:
        if self.state is State.OPEN:
            self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._turn_later()

    def close(self, code: int, reason: str) -> None:
        payload = close_payload(code, reason)
        if self.state is not State.OPEN:
            return
        self.state = State.CLOSING
        if self._full:
            self._lose_later()  # Close would stand behind what the client does not read
            return
        self._write(Opcode.CLOSE, payload)
        self._abort_in_time()
        self.resume()  # a paused transport would not see the client's Close

    def abort(self) -> None:
        if self.state is not State.CLOSED:
            if self.state is State.OPEN:
                self.state = State.CLOSING
            self._lose_later()

    @property
    def native(self) -> MemorySocket:
        return self.socket

    def accepted(self, connection_id: str) -> bool:
        return False

    # -- FarEnd: what the client's end calls ---------------------------------------------------------

    @property
    def full(self) -> bool:
        return self._arrived_bytes >= self._engine.socket_bytes

    def head(self, data: bytes) -> None:
        self._head += data
        self._turn_later()

    def put(self, frame: Frame) -> None:
        self._arrived.append(frame)
        self._arrived_bytes += len(frame.payload) + 2
        self._turn_later()

    def taken(self) -> None:
        if self._full or self._finishing:
            self._loop.call_soon(self._relieve)

    def hung_up(self) -> None:
        self._hung_up = True
        self._turn_later()

    # -- turns of the loop ---------------------------------------------------------------------------

    def _turn_later(self) -> None:
        if not self._turn_due and not self._paused and self.state is not State.CLOSED:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """What a read is to a socket."""
        self._turn_due = False
        if self.state is State.HANDSHAKE and not self._deaf:
            self._read_head()
        room = _READ_BYTES
        while self._arrived and room > 0 and self._reading():
            frame = self._arrived.popleft()
            self._arrived_bytes -= len(frame.payload) + 2
            room -= len(frame.payload) + 2
            self._on_frame(frame)
        if not self.full:
            self.socket.made_room()
        if self._arrived and self._reading():
            self._turn_later()
        elif self._hung_up and not self._paused:
            self._lose_later()

    def _reading(self) -> bool:
        return not self._paused and self.state in (State.OPEN, State.CLOSING)

    def _relieve(self) -> None:
        """The client has read: it may no longer be congested, or be done."""
        if self._full and self.buffered <= self._engine.options.high_water_bytes // 4:
            self._full = False
            self._answer_ping()
            if self.state is State.OPEN and self._peer is not None:
                self._peer.congested(False)
        if self._finishing and not self.buffered:
            self._lose_later()

    # -- handshake -----------------------------------------------------------------------------------

    def _read_head(self) -> None:
        read: tuple[Handshake, int] | None = None
        try:
            read = read_request(self._head, self.socket.remote, self._secure)
            if read is None:
                return
            request, _ = read
            answer = self._engine.admit(request)
            if isinstance(answer, HttpReply):
                self._refuse(answer)
                return
            check_upgrade(request)
            accept_response(request, answer.subprotocol, answer.headers)
        except BadHandshake as bad:
            if read is None:
                self._engine.options.accept_control.record_bad_request(bad.reply.status)
            self._refuse(bad.reply)
        except Exception:
            logger.exception("a handshake could not be decided")
            self._refuse(HttpReply(500, b"internal error\n"))
        else:
            self._deadline.cancel()
            self._settled()
            self.state = State.OPEN
            self.socket.answered(Opened(answer.subprotocol, answer.headers))
            self._peer = answer.peer
            self._peer.opened(self)

    def _refuse(self, reply: HttpReply) -> None:
        self._deaf = True
        self._settled()
        self.socket.answered(reply)
        self._lose_later()

    def _expire(self) -> None:
        if self.state is State.HANDSHAKE:
            self._engine.options.accept_control.record_bad_request(408)
            self._refuse(HttpReply(408, b"expected the whole handshake sooner\n"))

    # -- frames --------------------------------------------------------------------------------------

    def _write(self, opcode: Opcode, payload: bytes) -> None:
        if self._hung_up:
            self._lose_later()
            return
        self.socket.deliver(opcode, payload)
        if not self._full and self.buffered > self._engine.options.high_water_bytes:
            self._full = True
            if self.state is State.OPEN and self._peer is not None:
                self._peer.congested(True)

    def _on_frame(self, frame: Frame) -> None:
        peer = self._peer
        if self._deaf or peer is None:
            return
        payload = frame.payload
        try:
            message = self._assembler.feed(frame.opcode, frame.fin, frame.rsv, payload)
            self._account(self._assembler.buffered)
            if self._deaf:
                return  # it held the most of all, and that was too much
            if frame.opcode == Opcode.CLOSE:
                self._on_close(*check_close(payload))
            elif self.state is not State.OPEN:
                return
            elif message is not None:
                peer.received(*message)
            elif frame.opcode == Opcode.PING:
                self._pong = payload  # only the newest is answered while there is no room (RFC 6455 §5.5.3)
                self._answer_ping()
                peer.control(Control.PING, payload)
            elif frame.opcode == Opcode.PONG:
                peer.control(Control.PONG, payload)
            else:
                peer.control(Control.FRAGMENT if payload else Control.EMPTY_FRAGMENT, payload)
        except FrameFault as fault:
            self.fail(fault.close_code, fault.reason)
        except Exception:
            logger.exception("a peer's callback failed")
            self.fail(int(Close.INTERNAL_ERROR), "")

    def _answer_ping(self) -> None:
        if self._pong is not None and not self._full and self.state is State.OPEN:
            payload, self._pong = self._pong, None
            self._write(Opcode.PONG, payload)

    def _on_close(self, code: int, reason: str) -> None:
        self._close_code, self._close_reason = code, reason
        self._deaf = True
        self._account(0)
        if self.state is State.OPEN:
            self.state = State.CLOSING
            if self._peer is not None:
                self._peer.leaving()
            self._write(Opcode.CLOSE, close_payload(code) if may_send(code) else b"")
        self._finishing = True
        self._abort_in_time()
        self._relieve()

    def _account(self, held: int) -> None:
        """Tells the engine how much of an unfinished message this connection holds."""
        before, self.held_bytes = self.held_bytes, held
        if held != before:
            self._engine.holdings.changed(self, held - before)

    def fail(self, code: int, reason: str) -> None:
        """The client broke the protocol: says why and hangs up (RFC 6455 §7.1.7)."""
        self._deaf = True
        self._assembler = Assembler(self._engine.options.max_message_bytes)
        self._account(0)
        if self.state is State.OPEN and self._peer is not None:
            self.state = State.CLOSING
            self._peer.failed(code, reason)
            self._write(Opcode.CLOSE, close_payload(code, reason))
        self.socket.end()
        self._abort_in_time()

    # -- the end -------------------------------------------------------------------------------------

    def _abort_in_time(self) -> None:
        self._deadline.cancel()
        self._deadline = self._loop.call_later(self._engine.options.close_timeout, self.abort)

    def _lose_later(self) -> None:
        if not self._losing:
            self._losing = True
            self._loop.call_soon(self._lose)

    def _lose(self) -> None:
        self._deadline.cancel()
        self._settled()
        self._account(0)
        self.state, self._deaf = State.CLOSED, True
        self._arrived.clear()
        self._arrived_bytes = 0
        self.socket.cut(self._engine.socket_bytes)
        self.socket.end()
        self._engine.lost(self)
        peer, self._peer = self._peer, None
        if peer is not None:
            peer.closed(self._close_code, self._close_reason)
