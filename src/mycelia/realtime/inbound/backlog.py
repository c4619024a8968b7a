"""The backlog of one connection: its requests in order of arrival, bounded in number and bytes.

At the bound the peer is paused. If the backlog does not shrink within `pause_timeout`, the newest requests are refused
and reading goes on. If nothing has moved when the bound is reached again, the newest requests are refused at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mycelia.realtime.connection.work import Work

__all__ = ["Backlog", "BacklogLimits"]


@dataclass(frozen=True, slots=True)
class BacklogLimits:
    """The bounds of a backlog.

    Args:
        requests: The most entries.
        payload_bytes: The most bytes of encoded messages.
        pause_timeout: How long a full backlog pauses its peer before it refuses requests, in seconds.
    """

    requests: int
    payload_bytes: int
    pause_timeout: float


class Pausable(Protocol):
    """A peer that can be paused; the link of a connection."""

    def pause(self) -> None:
        """Stop reading from the peer."""

    def resume(self) -> None:
        """Read from the peer again."""


class Backlog:
    """A bounded queue with one consumer, the worker of the connection.

    Args:
        peer: Is paused while the backlog is full.
        limits: The bounds.
        refuse: Answers a request that is not accepted.

    Attributes:
        entries: The entries: what was decoded so far, and the encoded message. The worker takes them from the left and
            keeps `size_bytes`.
        size_bytes: The bytes of the encoded messages in `entries`.
    """

    __slots__ = ("_grace", "_limits", "_loop", "_peer", "_refuse", "_stuck", "_waiter", "entries", "size_bytes")

    def __init__(self, peer: Pausable, limits: BacklogLimits, refuse: Callable[[Work, bytes], None]) -> None:
        self._peer, self._limits, self._refuse = peer, limits, refuse
        self._loop = asyncio.get_running_loop()
        self.entries: deque[tuple[Work, bytes]] = deque()
        self.size_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._stuck: tuple[Work, bytes] | None = None  # the oldest entry when newer ones were refused

    @property
    def is_awaited(self) -> bool:
        """True if the worker waits for an entry."""
        return self._waiter is not None

    def put(self, work: Work, payload: bytes) -> None:
        """Add an entry; pause the peer at the bound."""
        entries = self.entries
        entries.append((work, payload))
        self.size_bytes = held = self.size_bytes + len(payload)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
        limits = self._limits
        if len(entries) >= limits.requests or held >= limits.payload_bytes:
            self._overfull()

    def wait(self) -> asyncio.Future[None]:
        """Return a future that `put` and `wake` complete."""
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def wake(self) -> None:
        """Complete the future of `wait` without an entry."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def has_shrunk(self) -> None:
        """Resume a paused peer if the backlog is below half of its bound. The worker calls this after each entry."""
        limits = self._limits
        if len(self.entries) * 2 <= limits.requests and self.size_bytes * 2 <= limits.payload_bytes:
            self.stop_refusing()
            self._peer.resume()

    def stop_refusing(self) -> None:
        """Refuse nothing when `pause_timeout` is over."""
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def clear(self) -> None:
        """Drop every entry."""
        self.entries.clear()
        self.size_bytes = 0

    def refuse_all(self) -> None:
        """Refuse every entry, the oldest first."""
        while self.entries:
            work, payload = self.entries.popleft()
            self.size_bytes -= len(payload)
            self._refuse(work, payload)

    def _overfull(self) -> None:
        if self.entries and self.entries[0] is self._stuck:
            self._refuse_newest()
            return
        self._peer.pause()
        if self._grace is None:
            self._grace = self._loop.call_later(self._limits.pause_timeout, self._refuse_newest)

    def _refuse_newest(self) -> None:
        self._grace = None
        limits = self._limits
        while len(self.entries) >= limits.requests or self.size_bytes >= limits.payload_bytes:
            work, payload = self.entries.pop()
            self.size_bytes -= len(payload)
            self._refuse(work, payload)
            if not self.entries:
                break
        self._stuck = self.entries[0] if self.entries else None
        self._peer.resume()
