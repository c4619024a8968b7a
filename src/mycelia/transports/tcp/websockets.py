"""The reference engine: the sans-IO protocol of `websockets` reads frames.

The library judges frames (masks, opcodes, reserved bits, lengths, the order of fragments, close codes) by its
own rules, which makes it a check on the default engine. Its answers (pongs, Closes) are not sent: those are
the same for every engine and come from `stream`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Mapping
from typing import Any, ClassVar, cast

from websockets.extensions import Extension
from websockets.frames import Frame
from websockets.protocol import OPEN, Side
from websockets.protocol import Protocol as LibraryProtocol
from websockets.streams import StreamReader
from websockets.typing import BytesLike, ExtensionName

from mycelia.protocol.ws.frames import CONTROL_LIMIT_BYTES
from mycelia.transports.stream.connection import StreamConnection
from mycelia.transports.stream.reader import READ_BYTES, Reader
from mycelia.transports.tcp.listener import StreamEngine
from mycelia.transports.tcp.silent_logger import SilentLogger

apply_mask: Callable[[BytesLike, bytes | bytearray], bytes]
try:
    from websockets.speedups import apply_mask
except ImportError:  # the library was built without its C part
    from websockets.utils import apply_mask

__all__ = ["WebsocketsEngine"]


_KEY_BYTES = 4  # RFC 6455 §5.2
_SILENCE = SilentLogger(logging.getLogger("websockets.server"))


class _Payloads(StreamReader):
    """The library's buffer, but for the payloads of long frames, which it would hold twice, once masked.

    Such a payload is unmasked where it lies and left in `long`; the library is given an empty one instead.
    """

    def __init__(self) -> None:
        super().__init__()
        self.long: bytearray | None = None
        self._key = bytearray()  # the last four bytes that were asked for: before a payload its masking key comes

    def read_exact(self, n: int) -> Generator[None, None, bytearray]:
        if n <= READ_BYTES:
            data = yield from super().read_exact(n)
            if n == _KEY_BYTES:
                self._key = data
            return data
        while len(self.buffer) < n:
            yield
        self.long, self.buffer = self.buffer, self.buffer[n:]
        del self.long[n:]
        with memoryview(self.long) as whole:
            for at in range(0, n, READ_BYTES):
                piece = whole[at : at + READ_BYTES]
                piece[:] = apply_mask(piece, self._key)
        return bytearray()


class _Frames(Extension):
    """Stands where the library has its decompressor: each frame gets its long payload, and its mark of a compressed
    message goes to the assembler, where compression was agreed on."""

    name = ExtensionName("permessage-deflate")

    def __init__(self, reader: _Payloads, packed: bool) -> None:
        self._reader, self._packed = reader, packed
        self.marks: deque[bool] = deque()  # of the frames of one read

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        if self._reader.long is not None:
            frame.data, self._reader.long = self._reader.long, None
        if self._packed:
            self.marks.append(frame.rsv1)
            frame.rsv1 = frame.rsv1 and frame.opcode > 2  # which no control frame may have
        return frame

    def encode(self, frame: Frame) -> Frame:
        return frame


class _LibraryReader:
    """One connection's protocol object; kept for life, because it holds the state of a message."""

    __slots__ = ("_frames", "_owner", "_scratch", "protocol")

    def __init__(self, owner: StreamConnection, max_bytes: int, scratch: bytearray) -> None:
        self._owner, self._scratch = owner, scratch
        # The library counts a control frame inside a fragmented message towards the size of that message; the
        # assembler, which does not, has the last word on sizes.
        most = max_bytes + CONTROL_LIMIT_BYTES
        self.protocol = protocol = LibraryProtocol(Side.SERVER, state=OPEN, max_size=most, logger=_SILENCE)
        protocol.reader = reader = _Payloads()
        self._frames = _Frames(reader, owner.compression is not None)
        protocol.extensions = [self._frames]
        protocol.parser.close()  # which reads from the buffer that it began with
        protocol.parser = protocol.parse()
        next(protocol.parser)

    @property
    def held_bytes(self) -> int:
        return len(self.protocol.reader.buffer)

    def get_buffer(self, hint: int) -> bytearray:
        return self._scratch

    def read(self, count: int) -> bool:
        protocol, owner, marks = self.protocol, self._owner, self._frames.marks
        protocol.receive_data(bytes(memoryview(self._scratch)[:count]))
        protocol.data_to_send()
        for event in protocol.events_received():
            assert isinstance(event, Frame)
            rsv = 4 if marks and marks.popleft() else 0  # the library refused all other
            payload, event.data = event.data, b""  # the library's parser holds on to its last frame
            if event.opcode and not rsv:  # what is added to others or inflated is not kept, and need not be copied
                payload = bytes(payload)
            owner.on_frame(int(event.opcode), event.fin, rsv, cast(bytes, payload))
        if protocol.parser_exc is not None and protocol.close_sent is not None:
            owner.fail(int(protocol.close_sent.code), protocol.close_sent.reason)
        return True


class WebsocketsEngine(StreamEngine):
    """`type: "websockets"` (alias `ws`)."""

    name: ClassVar[str] = "websockets"

    def prepare(self, library: Mapping[str, Any]) -> None: ...

    def acquire(self, connection: StreamConnection) -> Reader:
        return _LibraryReader(connection, self.options.max_message_bytes, self.scratch)

    def release(self, reader: Reader) -> None: ...

    def discard(self, reader: Reader) -> None:
        """Frees it all now: the library's protocol and its parser refer to each other, and the collector takes long."""
        if isinstance(reader, _LibraryReader):
            protocol = reader.protocol
            protocol.reader.buffer = bytearray()
            protocol.parser.close()
            protocol.parser_exc = None
