"""What turns one connection's bytes into frames, and where a connection stands."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

__all__ = ["READ_BYTES", "Reader", "Sink", "State"]

READ_BYTES = 8 * 1024  # what one turn of the loop may bring one connection: nobody else waits for longer


class State(IntEnum):
    """Where a connection stands; it only ever moves down this list."""

    HANDSHAKE = 0
    OPEN = 1
    CLOSING = 2  # our Close is out: nothing more is sent, messages that come are dropped
    CLOSED = 3


class Reader(Protocol):
    """Turns bytes into frames, which it gives to `StreamConnection.on_frame`."""

    @property
    def held_bytes(self) -> int:
        """Bytes of an unfinished frame that wait here for the rest of it."""

    def get_buffer(self, hint: int) -> memoryview | bytearray:
        """Where the next bytes go; never empty."""

    def read(self, count: int) -> bool:
        """Takes `count` new bytes; False when the reader is between frames and may serve another connection."""


class Sink:
    """The reader of a connection that no longer listens: bytes are read, so that no RST cuts off our Close."""

    __slots__ = ("_buffer",)

    held_bytes = 0

    def __init__(self, buffer: bytearray) -> None:
        self._buffer = buffer

    def get_buffer(self, hint: int) -> bytearray:
        return self._buffer

    def read(self, count: int) -> bool:
        return True
