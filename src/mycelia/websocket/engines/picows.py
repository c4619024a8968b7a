"""The default engine: picows reads frames, on uvloop where it exists.

picows is used as what it is best at, a frame parser that unmasks with SIMD, and lent from a pool: a parser
owns its read buffer, which doubles up to the largest frame and never shrinks, and is needed only while a frame
is on its way. A connection between frames holds none; one whose buffer has grown is dropped, not pooled.
Measured over 4,000 idle connections: about 2 KiB each this way, about 28 KiB with a parser each.

What picows would do beyond parsing does not happen: it is fed the shortest valid handshake when a parser is
made, and whatever it wants to write (its answer to that, a Close after a bad frame) goes to `_Wire`, which
keeps the verdict and sends nothing. `WSProtocol` is not in picows' documented face, so picows is pinned to one
version and the engine suite stands guard. So every handshake, Close and pong on the wire is ours, as on any engine.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from picows import WSFrame, WSListener, WSMsgType, WSTransport
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # absent from its stub; see the docstring

from mycelia.protocol.assembler import check_text
from mycelia.protocol.codes import parse_close
from mycelia.protocol.frames import FrameFault
from mycelia.websocket.engines.base import SilentLogger
from mycelia.websocket.engines.listener import StreamEngine
from mycelia.websocket.engines.reader import Reader, State
from mycelia.websocket.engines.stream import StreamConnection

__all__ = ["PicowsEngine"]

logger = logging.getLogger("mycelia.websocket.engine")

_OPEN = State.OPEN
_TEXT, _BINARY = 0x81, 0x82  # the first byte of a whole message: FIN, no reserved bit, opcode (RFC 6455 §5.2)
_OPCODES = {
    WSMsgType.CONTINUATION: 0, WSMsgType.TEXT: 1, WSMsgType.BINARY: 2,
    WSMsgType.CLOSE: 8, WSMsgType.PING: 9, WSMsgType.PONG: 10,
}  # fmt: skip
_BUFFER_BYTES = 16 * 1024
_STEADY_BYTES = 14 * 1024  # a read shorter than this never makes picows move its buffer (it grows at 90 %)
_KEEP_BYTES = 32 * 1024  # a pooled parser whose buffer is larger than this is dropped
_POOL_SIZE = 16
_SHORTEST_HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: parser\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class _NoSocket:
    """Stands where picows asks for a socket; the real one stays with the event loop's transport."""

    def setsockopt(self, *args: object) -> None: ...

    def getsockopt(self, *args: object) -> int:
        return 0

    def fileno(self) -> int:
        return -1


class _Wire:
    """Stands where picows writes: keeps the Close that a bad frame made it send."""

    __slots__ = ("verdict",)

    def __init__(self) -> None:
        self.verdict: tuple[int, str] | None = None

    def get_extra_info(self, name: str, default: object = None) -> object:
        return _NoSocket() if name == "socket" else default

    def get_write_buffer_size(self) -> int:
        return 1  # never zero: picows must not write to a file descriptor itself

    def write(self, data: bytes) -> None:
        head = bytes(data[:2])
        if self.verdict is None and head[:1] == b"\x88":
            self.verdict = parse_close(bytes(data[2:]))

    def writelines(self, parts: list[bytes]) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


class _Parser(WSListener):
    """A picows parser as a `Reader`, and the listener that it calls."""

    def __init__(self, max_bytes: int) -> None:
        self.owner: StreamConnection | None = None
        self.between = True
        self.held_bytes = 0  # since the last boundary between two reads
        self._wire = _Wire()
        protocol = WSProtocol(
            None,  # host and port
            None,  # path
            False,  # is_client_side
            lambda request: self,
            SilentLogger(logging.getLogger("picows")),
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
        self._wire.verdict = None
        self.get_buffer = protocol.get_buffer
        self._view = protocol.get_buffer(-1)
        self._end = 0  # how many bytes lie in the buffer, while that is certain and it has not moved
        self.moved = False
        self._feed = protocol.buffer_updated

    def read(self, count: int) -> bool:
        # Where the first bytes of frames can be looked at: they are in the buffer, which did not move.
        self._end = count if self.between and count < _STEADY_BYTES else 0
        self.between = False
        self._feed(count)
        if self._wire.verdict is not None and self.owner is not None:
            self.owner.fail(*self._wire.verdict)
            return True
        if self._end and self.between:
            return False
        return self._went_on(count)

    def _went_on(self, count: int) -> bool:
        """The rarer end of a read: a frame is unfinished, or was, or the read was so large that the buffer moved."""
        if not self.between:
            self.held_bytes += count
            return True
        self.held_bytes = 0
        self.moved = True
        if self._feed is not None:
            self._view = self.get_buffer(-1)
        return False

    def retire(self) -> None:
        """Lets go of picows and its buffer now; the two refer to each other, and the collector may take long."""
        self.get_buffer = self._feed = self._view = None

    def on_ws_connected(self, transport: WSTransport) -> None: ...

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        tail = frame.tail_size
        if not tail and frame.last_in_buffer:
            self.between = True
        owner = self.owner
        if owner is None:
            return
        payload = frame.get_payload_as_bytes()
        try:
            if self._end:
                # Asking picows for the type and five bits costs 270 ns; they are one byte before the payload.
                size = len(payload)
                first = self._view[self._end - tail - size - (6 if size < 126 else 8)]
            else:
                rsv = frame.rsv1 << 6 | frame.rsv2 << 5 | frame.rsv3 << 4
                first = frame.fin << 7 | rsv | _OPCODES[frame.msg_type]
            if _TEXT <= first <= _BINARY and owner.assembler is None:
                if first == _TEXT and not payload.isascii():
                    check_text(payload)
                if owner.state is _OPEN:
                    owner.peer.received(payload, first == _BINARY)
            else:
                owner.on_frame(first & 15, first > 127, first >> 4 & 7, payload)
        except FrameFault as fault:
            owner.fail(fault.close_code, fault.reason)
        except Exception:
            logger.exception("a peer's callback failed")
            owner.fail(1011, "")


class PicowsEngine(StreamEngine):
    """`type: "picows"` (alias `uws`)."""

    name: ClassVar[str] = "picows"

    def __init__(self) -> None:
        super().__init__()
        self._pool: list[_Parser] = []

    def configure(self, library: Mapping[str, Any]) -> None:
        self._pool.clear()

    def acquire(self, connection: StreamConnection) -> Reader:
        parser = self._pool.pop() if self._pool else _Parser(self.options.max_message_bytes)
        parser.owner = connection
        return parser

    def release(self, reader: Reader) -> None:
        assert type(reader) is _Parser
        parser = reader
        parser.owner = None
        if not parser.moved and len(self._pool) < _POOL_SIZE:
            self._pool.append(parser)
        elif len(self._pool) < _POOL_SIZE and len(parser.get_buffer(-1)) <= _KEEP_BYTES:
            parser.moved = False
            self._pool.append(parser)
        else:
            parser.retire()

    def discard(self, reader: Reader) -> None:
        if isinstance(reader, _Parser):
            reader.owner = None
            reader.retire()
