"""Reading with picows: its frame parser for most frames, our own code for whole short messages.

Nearly every message of nearly every client is one masked frame with a short payload. `PicowsConnection` unmasks such a
frame in the read buffer. picows parses all other frames. We use it only as a frame parser, and lend parsers from a
pool, because a parser owns its read buffer. That buffer doubles up to the largest frame and never shrinks, and it is
needed only while a frame is incomplete. A connection between two frames holds no parser. A parser whose buffer has
grown is dropped, not pooled. Measured over 4,000 idle connections: about 2 KiB each this way, about 28 KiB with a
parser each.

picows does nothing beyond parsing. A new parser gets the shortest valid handshake as its first input. Whatever it wants
to write (the response to that handshake, a Close after an invalid frame) goes to `_Wire`, which keeps the close code
and sends nothing. So every handshake, Close and Pong on the wire is ours, as with any other engine. `WSProtocol` is not
part of picows' documented API. Therefore picows is pinned to one version, and the engine suite checks it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast

from picows import WSFrame, WSListener, WSMsgType, WSTransport
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # absent from its stub; see the docstring

from mycelia.protocol.wire.codes import Close, parse_close
from mycelia.protocol.ws.assembler import check_text
from mycelia.protocol.ws.frames import FrameFault
from mycelia.transports.silent_logger import SilentLogger
from mycelia.transports.stream.framed_connection import FramedConnection
from mycelia.transports.stream.reader import READ_BYTES, FrameHandler, Reader
from mycelia.transports.transport_state import TransportState

apply_mask: Callable[[bytes, bytes], bytes]
try:
    from websockets.speedups import apply_mask
except ImportError:  # that library was built without its C part
    from mycelia.protocol.ws.frames import apply_mask

__all__ = ["PicowsConnection", "PicowsReaders"]

logger = logging.getLogger("mycelia.websocket.engine")

# Constants, because reading a member of an Enum class costs as much as a call.
_HANDSHAKE, _OPEN, _CLOSED = TransportState.HANDSHAKE, TransportState.OPEN, TransportState.CLOSED
_TEXT, _BINARY = 0x81, 0x82  # the first byte of a whole message: FIN, no reserved bit, opcode (RFC 6455 §5.2)
_OPCODES = {
    WSMsgType.CONTINUATION: 0, WSMsgType.TEXT: 1, WSMsgType.BINARY: 2,
    WSMsgType.CLOSE: 8, WSMsgType.PING: 9, WSMsgType.PONG: 10,
}  # fmt: skip
_BUFFER_BYTES = 16 * 1024
_SILENT = SilentLogger(logging.getLogger("picows"))
_SHORT_BYTES = 4 * 1024  # the beginning of a message up to this length is kept without a parser
_KEEP_BYTES = 32 * 1024  # a parser with a larger buffer is dropped, not pooled
_POOL_SIZE = 16
_SHORTEST_HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: parser\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class _NoSocket:
    """Replaces the socket that picows asks for. The real one stays with the event loop's transport."""

    def setsockopt(self, *args: object) -> None: ...

    def getsockopt(self, *args: object) -> int:
        return 0

    def fileno(self) -> int:
        return -1


class _Wire:
    """Replaces the transport that picows writes to. Keeps the Close that picows sends after an invalid frame."""

    __slots__ = ("failure",)

    def __init__(self) -> None:
        self.failure: tuple[int, str] | None = None

    def get_extra_info(self, name: str, default: object = None) -> object:
        return _NoSocket() if name == "socket" else default

    def get_write_buffer_size(self) -> int:
        return 1  # never zero, so that picows does not write to the file descriptor itself

    def write(self, data: bytes) -> None:
        head = bytes(data[:2])
        if self.failure is None and head[:1] == b"\x88":
            self.failure = parse_close(bytes(data[2:]))

    def writelines(self, parts: list[bytes]) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


class _Parser(WSListener):
    """A picows parser as a `Reader`, and the listener that picows calls."""

    def __init__(self, max_bytes: int) -> None:
        self.owner: FrameHandler | None = None
        self.is_between_frames = True
        self.held_bytes = 0  # bytes of an incomplete frame
        self._tail = -1  # bytes after the last frame of this read; -1 before the first frame
        self._wire = _Wire()
        protocol = WSProtocol(
            None,  # host and port
            None,  # path
            False,  # is_client_side
            lambda request: self,
            _SILENT,
            False,  # disconnect_on_exception
            None,  # handshake timeout
            False,  # auto ping
            20,
            20,
            1,
            False,  # auto pong
            max_bytes,
            None,  # extra headers
            _BUFFER_BYTES,
        )
        protocol.connection_made(self._wire)
        protocol.get_buffer(-1)[: len(_SHORTEST_HANDSHAKE)] = _SHORTEST_HANDSHAKE
        protocol.buffer_updated(len(_SHORTEST_HANDSHAKE))
        self._wire.failure = None
        self.get_buffer = protocol.get_buffer
        self._feed = protocol.buffer_updated

    def read(self, count: int) -> bool:
        self.is_between_frames, self._tail = False, -1
        self._feed(count)
        if self.owner is None:  # a callback has taken the parser from its connection
            self.held_bytes = 0
            return True
        if self._wire.failure is not None:
            self.owner.fail(*self._wire.failure)
            return True
        self.held_bytes = self.held_bytes + count if self._tail < 0 else self._tail
        return not self.is_between_frames

    def retire(self) -> None:
        """Free picows and its buffer now. They refer to each other, and the garbage collector may take long."""
        self.get_buffer = self._feed = None

    def on_ws_connected(self, transport: WSTransport) -> None: ...

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._tail = frame.tail_size
        if not self._tail and frame.last_in_buffer:
            self.is_between_frames = True
        owner = self.owner
        if owner is None:
            return
        rsv = frame.rsv1 << 2 | frame.rsv2 << 1 | frame.rsv3
        try:
            # Compressed payloads are inflated in place: a copy would be the largest part of a bomb's cost.
            payload = cast(bytes, frame.get_payload_as_memoryview()) if frame.rsv1 else frame.get_payload_as_bytes()
            owner.on_frame(_OPCODES[frame.msg_type], frame.fin, rsv, payload)
        except Exception:
            logger.exception("handling a frame failed; the connection is closed with 1011")
            owner.fail(Close.INTERNAL_ERROR, "")


class PicowsConnection(FramedConnection):
    """A connection that reads whole short messages itself, from the buffer that all connections share.

    Nearly every message is one masked frame of a few hundred bytes that arrives whole. A callback from picows costs
    more than unmasking it here, because of what must be asked for each frame. Any other frame (a fragment, a control
    frame, a long or invalid one) and what follows it in the same read goes to a parser, which checks it. The beginning
    of a short message is kept here for the next read.
    """

    __slots__ = ()

    def get_buffer(self, hint: int) -> memoryview | bytearray:
        return self._host.window if self._reader is None else super().get_buffer(hint)

    def buffer_updated(self, count: int) -> None:
        if self._reader is not None or self.state is _HANDSHAKE:
            super().buffer_updated(count)
            return
        data, full = self._host.window[:count].tobytes(), count == READ_BYTES
        if self._head:
            data, self._head = self._head + data, b""
            count = len(data)
        at, longest = 0, self._host.options.max_message_bytes
        if self._queued is not None:
            longest = -1  # earlier frames are queued, so this one must go to the queue too
        try:
            while at + 6 <= count and self.assembler is None and self.state is _OPEN:
                first, size, begin = data[at], data[at + 1] - 128, at + 6
                if size > 125:
                    if size == 127:
                        break
                    size, begin = data[at + 2] << 8 | data[at + 3], at + 8
                    if size < 126:
                        break  # not the shortest form of a length
                end = begin + size
                if end > count or size < 0 or size > longest or (first != _TEXT and first != _BINARY):
                    break
                payload = apply_mask(data[begin:end], data[begin - 4 : begin])
                if first == _TEXT and not payload.isascii():
                    check_text(payload)
                at = end
                self.peer.received(payload, first == _BINARY)
        except FrameFault as fault:
            self.fail(fault.close_code, fault.reason)
        except Exception:
            logger.exception("Peer.received raised; the connection is closed with 1011")
            self.fail(Close.INTERNAL_ERROR, "")
        if at < count and self._reader is None and self.state is not _CLOSED:
            self._unread(data[at:])
        elif self.held_bytes:
            self._account(0)
        if full:
            self.yield_turn()

    def _unread(self, rest: bytes) -> None:
        """Keep the beginning of a short message. Pass anything else to a parser."""
        if self.state is _OPEN and self.assembler is None and self._queued is None and self._begins_short(rest):
            self._head = rest
            self._account(len(rest))
            return
        self._reader = self._host.readers.acquire(self)
        self.feed(rest)

    def _begins_short(self, rest: bytes) -> bool:
        if rest[0] != _TEXT and rest[0] != _BINARY:
            return False
        size = rest[1] - 128 if len(rest) > 1 else 0
        if size == 126:
            size = rest[2] << 8 | rest[3] if len(rest) > 3 else 126
            return 126 <= size <= min(_SHORT_BYTES, self._host.options.max_message_bytes)
        return 0 <= size <= min(125, self._host.options.max_message_bytes)


class PicowsReaders:
    """A pool of picows parsers."""

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._pool: list[_Parser] = []

    def acquire(self, owner: FrameHandler) -> Reader:
        """Return a parser for a connection that has bytes and no parser."""
        parser = self._pool.pop() if self._pool else _Parser(self._max_message_bytes)
        parser.owner = owner
        return parser

    def release(self, reader: Reader) -> None:
        """Take back a parser that is between two frames."""
        assert type(reader) is _Parser
        reader.owner = None
        if len(self._pool) < _POOL_SIZE and len(reader.get_buffer(-1)) <= _KEEP_BYTES:
            self._pool.append(reader)
        else:
            reader.retire()

    def discard(self, reader: Reader) -> None:
        """Take back a parser that may be in the middle of a frame. It is not used again."""
        if isinstance(reader, _Parser):
            reader.owner = None
            reader.retire()
