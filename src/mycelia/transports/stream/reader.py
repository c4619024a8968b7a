"""Readers: the library-specific part of a stream connection, which turns bytes into frames."""

from __future__ import annotations

from typing import Protocol

from mycelia.protocol.ws.deflate import Compression

__all__ = ["READ_BYTES", "FrameHandler", "Reader", "Readers", "Sink"]

READ_BYTES = 8 * 1024
"""The most that one event-loop iteration reads from one connection, so that no other connection waits for longer."""


class FrameHandler(Protocol):
    """The connection that a reader reports to."""

    compression: Compression | None

    def on_frame(self, opcode: int, fin: bool, rsv: int, payload: bytes) -> None:
        """Handle one frame. Frames of all kinds come in their order."""

    def fail(self, code: int, reason: str) -> None:
        """End the connection, because the bytes are not valid frames."""


class Reader(Protocol):
    """Turns bytes into frames, which it passes to a `FrameHandler`."""

    @property
    def held_bytes(self) -> int:
        """The number of bytes of an unfinished frame that the reader holds."""

    def get_buffer(self, hint: int) -> memoryview | bytearray:
        """Return the buffer for the next bytes. It is never empty."""

    def read(self, count: int) -> bool:
        """Parse `count` new bytes. Return False between two frames: the reader may then serve another connection."""


class Readers(Protocol):
    """Lends readers to the connections of one engine."""

    def acquire(self, owner: FrameHandler) -> Reader:
        """Return a reader for a connection that has bytes and no reader."""

    def release(self, reader: Reader) -> None:
        """Take back a reader that is between two frames."""

    def discard(self, reader: Reader) -> None:
        """Take back a reader that may be in the middle of a frame."""


class Sink:
    """The reader of a connection that drops its input.

    Bytes must still be read. Otherwise the operating system answers them with RST, and the peer loses our Close frame.
    """

    __slots__ = ("_buffer",)

    held_bytes = 0

    def __init__(self, buffer: bytearray) -> None:
        self._buffer = buffer

    def get_buffer(self, hint: int) -> bytearray:
        """Return the shared buffer."""
        return self._buffer

    def read(self, count: int) -> bool:
        """Drop the bytes."""
        return True
