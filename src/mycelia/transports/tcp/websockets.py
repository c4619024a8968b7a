"""The reference engine: the sans-IO protocol of the `websockets` library reads frames.

The library checks frames (masks, opcodes, reserved bits, lengths, the order of fragments, close codes) by its own
rules. That makes this engine a check on the default one. The library's answers (Pong, Close) are not sent: these come
from `transports.stream` and are the same for every engine.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator
from typing import ClassVar, cast

from websockets.extensions import Extension
from websockets.frames import Frame
from websockets.protocol import OPEN, Side
from websockets.protocol import Protocol as LibraryProtocol
from websockets.streams import StreamReader
from websockets.typing import BytesLike, ExtensionName

from mycelia.protocol.ws.frames import CONTROL_LIMIT_BYTES
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.silent_logger import SilentLogger
from mycelia.transports.stream.reader import READ_BYTES, FrameHandler, Reader
from mycelia.transports.tcp.listener import ListeningEngine

apply_mask: Callable[[BytesLike, bytes | bytearray], bytes]
try:
    from websockets.speedups import apply_mask
except ImportError:  # the library was built without its C part
    from websockets.utils import apply_mask

__all__ = ["WebsocketsEngine"]


_KEY_BYTES = 4  # RFC 6455 §5.2
_SILENT = SilentLogger(logging.getLogger("websockets.server"))


class _Payloads(StreamReader):
    """The library's buffer, except for the payloads of long frames, which the library would hold twice.

    Such a payload is unmasked in place and left in `long`. The library gets an empty payload instead.
    """

    def __init__(self) -> None:
        super().__init__()
        self.long: bytearray | None = None
        self._key = bytearray()  # the last four bytes that were read: a masking key stands before its payload

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
    """Replaces the library's decompressor: restores long payloads, and keeps RSV1 for the assembler.

    `marks` is used only if the handshake agreed on compression.
    """

    name = ExtensionName("permessage-deflate")

    def __init__(self, reader: _Payloads, packed: bool) -> None:
        self._reader, self._packed = reader, packed
        self.marks: deque[bool] = deque()  # RSV1 of the frames of one read

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        if self._reader.long is not None:
            frame.data, self._reader.long = self._reader.long, None
        if self._packed:
            self.marks.append(frame.rsv1)
            frame.rsv1 = frame.rsv1 and frame.opcode > 2  # the library rejects a control frame with RSV1
        return frame

    def encode(self, frame: Frame) -> Frame:
        return frame


class _LibraryReader:
    """The library's protocol object of one connection. It lives as long as the connection, because it holds state."""

    __slots__ = ("_frames", "_owner", "_scratch", "protocol")

    def __init__(self, owner: FrameHandler, max_bytes: int, scratch: bytearray) -> None:
        self._owner, self._scratch = owner, scratch
        # The library adds a control frame inside a fragmented message to the size of that message. The assembler does
        # not, and it enforces the limit.
        most = max_bytes + CONTROL_LIMIT_BYTES
        self.protocol = protocol = LibraryProtocol(Side.SERVER, state=OPEN, max_size=most, logger=_SILENT)
        protocol.reader = reader = _Payloads()
        self._frames = _Frames(reader, owner.compression is not None)
        protocol.extensions = [self._frames]
        protocol.parser.close()  # it reads from the library's own buffer
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
            rsv = 4 if marks and marks.popleft() else 0  # the library has rejected all other reserved bits
            payload, event.data = event.data, b""  # the library's parser keeps its last frame
            if event.opcode and not rsv:  # a fragment or compressed payload is not kept, so it needs no copy
                payload = bytes(payload)
            owner.on_frame(int(event.opcode), event.fin, rsv, cast(bytes, payload))
        if protocol.parser_exc is not None and protocol.close_sent is not None:
            owner.fail(int(protocol.close_sent.code), protocol.close_sent.reason)
        return True


class _LibraryReaders:
    """Makes a reader for each connection."""

    def __init__(self, max_message_bytes: int, scratch: bytearray) -> None:
        self._max_message_bytes, self._scratch = max_message_bytes, scratch

    def acquire(self, owner: FrameHandler) -> Reader:
        return _LibraryReader(owner, self._max_message_bytes, self._scratch)

    def release(self, reader: Reader) -> None: ...

    def discard(self, reader: Reader) -> None:
        """Free everything now. The library's protocol and parser refer to each other, and the collector takes long."""
        if isinstance(reader, _LibraryReader):
            protocol = reader.protocol
            protocol.reader.buffer = bytearray()
            protocol.parser.close()
            protocol.parser_exc = None


class WebsocketsEngine(ListeningEngine):
    """The engine for `type: "websockets"` (alias `ws`)."""

    name: ClassVar[str] = "websockets"

    def make_readers(self, options: EngineOptions) -> _LibraryReaders:
        return _LibraryReaders(options.max_message_bytes, self.scratch)
