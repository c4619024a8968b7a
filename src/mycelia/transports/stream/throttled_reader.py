"""Read throttling: what one peer sends at once must not block the event loop for other connections."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Protocol

from mycelia.protocol.ws.deflate import Compression
from mycelia.scheduling.fair_scheduler import ReadScheduler
from mycelia.transports.transport_state import TransportState

__all__ = ["ThrottledReader"]

_INFLATED_BYTES = 64 * 1024
_OPEN, _CLOSING, _CLOSED = TransportState.OPEN, TransportState.CLOSING, TransportState.CLOSED
_Frame = tuple[int, bool, int, bytes]


class _Host(Protocol):
    @property
    def read_scheduler(self) -> ReadScheduler:
        """The scheduler that all connections of one engine share."""


class ThrottledReader(asyncio.BufferedProtocol, ABC):
    """An asyncio protocol that pauses reading when its owner asks, and by itself after a full read.

    A pause stops the next read, not the frames of the current one. There are no more of these than one read brings,
    unless they are compressed: then 8 KiB may become 8 MiB of messages. So the frames of a compressing peer are queued
    while reading is paused. After every 64 KiB of inflated output, or one larger message, they wait for a slot of the
    fair scheduler.
    """

    __slots__ = (
        "_cancel_slot", "_host", "_inflated", "_paused", "_queued", "_stream", "_yielding", "compression", "state",
    )  # fmt: skip

    _host: _Host
    _stream: asyncio.Transport

    def __init__(self) -> None:
        self.state = TransportState.HANDSHAKE
        self._paused = self._yielding = False
        self._queued: deque[_Frame] | None = None
        self._inflated = 0
        self.compression: Compression | None = None
        self._cancel_slot: Callable[[], object] | None = None

    @abstractmethod
    def on_frame(self, opcode: int, fin: bool, rsv: int, payload: bytes) -> None:
        """Handle one frame. Frames come in the order in which the peer sent them."""

    @property
    @abstractmethod
    def is_parsing(self) -> bool:
        """True while incoming bytes are parsed, False once they are dropped."""

    def yield_turn(self) -> None:
        """Stop reading for the rest of this iteration, because uvloop would read up to 32 times in a row."""
        if self.is_parsing and not self._yielding and self._stream.is_reading():
            self._stream.pause_reading()
            self._resume_later()

    def pause(self) -> None:
        """Stop reading until `resume`."""
        if self.state in (_OPEN, _CLOSING) and not self._paused:
            self._paused = True
            if self._stream.is_reading():
                self._stream.pause_reading()

    def resume(self) -> None:
        """Read again, after the queued frames."""
        self._paused = False
        if self.state is not _CLOSED and not self._yielding and not self._stream.is_reading():
            if self._queued is None:
                self._stream.resume_reading()
            else:
                self._resume_later()

    def should_queue(self, opcode: int, fin: bool, rsv: int, payload: bytes) -> bool:
        """Queue a frame of a compressing peer if it must wait. `on_frame` then gets it again later."""
        if self._queued is None:
            if not self._paused:
                return False
            self._queued = deque()
        self._queued.append((opcode, fin, rsv, bytes(payload)))
        return True

    def count_inflated(self, size: int) -> None:
        """Count the size of a message that was inflated, and yield after 64 KiB."""
        self._inflated += size
        if self._inflated >= _INFLATED_BYTES:
            self._inflated = 0
            self._queued = deque()
            self.yield_turn()

    def drop_queued(self) -> None:
        """Drop the queued frames, and give up the place in the queue of the fair scheduler."""
        self._queued = None
        if self._cancel_slot is not None:
            self._cancel_slot()
            self._cancel_slot = None
            self._host.read_scheduler.put(self._resume)

    def _resume_later(self) -> None:
        self._yielding = True
        schedule = None if self._queued is None or self.compression is None else self.compression.schedule
        if schedule is None:
            self._host.read_scheduler.put(self._resume)
        else:
            self._cancel_slot = schedule(self._resume)

    def _resume(self) -> None:
        """Handle queued frames, as many as one turn allows, then read again."""
        self._cancel_slot = None
        queued, self._queued = self._queued, None
        while queued and self._queued is None and not self._paused:
            self.on_frame(*queued.popleft())
        self._yielding = False
        if queued:
            self._queued = queued
        if not self._paused and self.state is not _CLOSED and not self._stream.is_closing():
            if self._queued is None:
                self._stream.resume_reading()
            else:
                self._resume_later()
