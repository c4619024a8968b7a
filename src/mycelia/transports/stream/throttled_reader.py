"""How fast one peer is read: what it sends in one go must not keep the event loop from everybody else."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from mycelia.protocol.ws.deflate import Compression
from mycelia.transports.stream.reader import State

if TYPE_CHECKING:
    from mycelia.transports.tcp.listener import StreamEngine

__all__ = ["PacedProtocol"]

_INFLATED_BYTES = 64 * 1024
_Frame = tuple[int, bool, int, bytes]


class PacedProtocol(asyncio.BufferedProtocol, ABC):
    """Reading pauses when its owner says so, and by itself when a turn of the loop has brought enough.

    A pause stops the next read, not the frames of this one. They are no more than it is, unless they are compressed:
    then 8 KiB may be 8 MiB of messages. So frames of a compressed peer wait here, as they came, while reading is
    paused; and after every 64 KiB that came out of them, or one larger message, for a turn among all that take long.
    """

    __slots__ = (
        "_engine", "_inflated", "_paused", "_resting", "_stream", "_take_back", "_waiting", "compression", "state",
    )  # fmt: skip

    _stream: asyncio.Transport

    def __init__(self, engine: StreamEngine) -> None:
        self._engine = engine
        self.state = State.HANDSHAKE
        self._paused = self._resting = False
        self._waiting: deque[_Frame] | None = None
        self._inflated = 0
        self.compression: Compression | None = None
        self._take_back: Callable[[], object] | None = None

    @abstractmethod
    def on_frame(self, opcode: int, fin: bool, rsv: int, payload: bytes) -> None:
        """Any frame, in the order in which they came."""

    @property
    @abstractmethod
    def parsing(self) -> bool:
        """Whether what is read is looked at."""

    def rest(self) -> None:
        """Reads no more in this turn of the loop: libuv would read up to 32 times before others get theirs."""
        if self.parsing and not self._resting and self._stream.is_reading():
            self._stream.pause_reading()
            self._go_on_soon()

    def pause(self) -> None:
        if self.state in (State.OPEN, State.CLOSING) and not self._paused:
            self._paused = True
            if self._stream.is_reading():
                self._stream.pause_reading()

    def resume(self) -> None:
        self._paused = False
        if self.state is not State.CLOSED and not self._resting and not self._stream.is_reading():
            if self._waiting is None:
                self._stream.resume_reading()
            else:
                self._go_on_soon()

    def waits(self, opcode: int, fin: bool, rsv: int, payload: bytes) -> bool:
        """Whether a frame of a compressed peer waits for a later turn; then it is given to `on_frame` again."""
        if self._waiting is None:
            if not self._paused:
                return False
            self._waiting = deque()
        self._waiting.append((opcode, fin, rsv, bytes(payload)))
        return True

    def inflated(self, size: int) -> None:
        """So much came out of a compressed peer's frames."""
        self._inflated += size
        if self._inflated >= _INFLATED_BYTES:
            self._inflated = 0
            self._waiting = deque()
            self.rest()

    def _go_on_soon(self) -> None:
        self._resting = True
        turns = None if self._waiting is None or self.compression is None else self.compression.turns
        if turns is None:
            self._engine.rests.put(self._go_on)
        else:
            self._take_back = turns(self._go_on)

    def forget(self) -> None:
        """Nothing that waits is looked at any more."""
        self._waiting = None
        if self._take_back is not None:
            self._take_back()
            self._take_back = None
            self._engine.rests.put(self._go_on)

    def _go_on(self) -> None:
        """First the frames that wait, as many as make up a turn, then reading."""
        self._take_back = None
        waiting, self._waiting = self._waiting, None
        while waiting and self._waiting is None and not self._paused:
            self.on_frame(*waiting.popleft())
        self._resting = False
        if waiting:
            self._waiting = waiting
        if not self._paused and self.state is not State.CLOSED and not self._stream.is_closing():
            if self._waiting is None:
                self._stream.resume_reading()
            else:
                self._go_on_soon()
