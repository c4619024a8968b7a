"""The reference engine: the sans-IO protocol of `websockets` reads frames.

The library judges frames (masks, opcodes, reserved bits, lengths, the order of fragments, close codes) by its
own rules, which makes it a check on the default engine. Its answers (pongs, Closes) are not sent: those are
the same for every engine and come from `stream`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

from websockets.extensions import Extension
from websockets.frames import Frame
from websockets.protocol import OPEN, Side
from websockets.protocol import Protocol as LibraryProtocol
from websockets.typing import ExtensionName

from mycelia.protocol.frames import CONTROL_LIMIT_BYTES
from mycelia.websocket.engines.base import SilentLogger
from mycelia.websocket.engines.listener import StreamEngine
from mycelia.websocket.engines.reader import Reader
from mycelia.websocket.engines.stream import StreamConnection

__all__ = ["WebsocketsEngine"]


_SILENCE = SilentLogger(logging.getLogger("websockets.server"))


class _Marks(Extension):
    """Stands where the library has its decompressor: lets the mark of compressed messages pass, for the assembler."""

    name = ExtensionName("permessage-deflate")

    def __init__(self) -> None:
        self.seen: deque[bool] = deque()  # of the frames of one read

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        self.seen.append(frame.rsv1)
        frame.rsv1 = frame.rsv1 and frame.opcode > 2  # which no control frame may have
        return frame

    def encode(self, frame: Frame) -> Frame:
        return frame


class _LibraryReader:
    """One connection's protocol object; kept for life, because it holds the state of a message."""

    __slots__ = ("_marks", "_owner", "_scratch", "protocol")

    def __init__(self, owner: StreamConnection, max_bytes: int, scratch: bytearray) -> None:
        self._owner, self._scratch = owner, scratch
        # The library counts a control frame inside a fragmented message towards the size of that message; the
        # assembler, which does not, has the last word on sizes.
        most = max_bytes + CONTROL_LIMIT_BYTES
        self.protocol = LibraryProtocol(Side.SERVER, state=OPEN, max_size=most, logger=_SILENCE)
        self._marks: _Marks | None = None
        if owner.compression is not None:
            self._marks = _Marks()
            self.protocol.extensions = [self._marks]

    @property
    def held_bytes(self) -> int:
        return len(self.protocol.reader.buffer)

    def get_buffer(self, hint: int) -> bytearray:
        return self._scratch

    def read(self, count: int) -> bool:
        protocol, owner = self.protocol, self._owner
        protocol.receive_data(bytes(memoryview(self._scratch)[:count]))
        protocol.data_to_send()
        for event in protocol.events_received():
            assert isinstance(event, Frame)
            rsv = 4 if self._marks is not None and self._marks.seen.popleft() else 0  # the library refused all other
            payload, event.data = bytes(event.data), b""  # the library's parser holds on to its last frame
            owner.on_frame(int(event.opcode), event.fin, rsv, payload)
        if protocol.parser_exc is not None and protocol.close_sent is not None:
            owner.fail(int(protocol.close_sent.code), protocol.close_sent.reason)
        return True


class WebsocketsEngine(StreamEngine):
    """`type: "websockets"` (alias `ws`)."""

    name: ClassVar[str] = "websockets"

    def configure(self, library: Mapping[str, Any]) -> None: ...

    def acquire(self, connection: StreamConnection) -> Reader:
        return _LibraryReader(connection, self.options.max_message_bytes, self.scratch)

    def release(self, reader: Reader) -> None: ...

    def discard(self, reader: Reader) -> None:
        """Frees it all now: the library's protocol and its parser refer to each other, and the collector takes long."""
        if isinstance(reader, _LibraryReader):
            protocol = reader.protocol
            protocol.reader.buffer.clear()
            protocol.parser.close()
            protocol.parser_exc = None
