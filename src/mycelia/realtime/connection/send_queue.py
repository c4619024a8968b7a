"""What waits for a peer that does not read as fast as it is written to: bounded, and never silent.

Packets leave in order. Replies and control frames are never dropped; if they alone exceed the bound, or a
packet's policy is `disconnect`, the owner is told to hang up (4504). Every drop is counted.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, StrEnum
from typing import NamedTuple

__all__ = ["Outbox", "Overflow", "Verdict"]


class Overflow(StrEnum):
    """What happens to a packet that finds the outbox full."""

    DISCONNECT = "disconnect"  # the peer is too slow for what it asked for: 4504, it comes back and catches up
    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    LATEST = "latest"  # of the packets with one key only the newest is kept; then as drop_oldest
    VOLATILE = "volatile"  # never waits: written at once or dropped
    NEVER = "never"  # a reply: kept, or the connection goes


class Verdict(Enum):
    """What became of a packet."""

    QUEUED = "queued"
    DROPPED = "dropped"
    DISCONNECT = "disconnect"


# Whom a packet of each policy may push out: others that gave leave, and a reply all that may be lost.
_LOSABLE = (Overflow.DROP_OLDEST, Overflow.LATEST)
_YIELDING = {
    Overflow.DROP_NEWEST: (),
    Overflow.DROP_OLDEST: _LOSABLE,
    Overflow.LATEST: _LOSABLE,
    Overflow.NEVER: (*_LOSABLE, Overflow.DROP_NEWEST),
}


class _Entry(NamedTuple):
    packet: bytes
    policy: Overflow
    key: str | None


class Outbox:
    """A queue of packets (held by reference) that is bounded in bytes."""

    __slots__ = ("_entries", "dropped", "limit_bytes", "size_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        self.dropped = 0
        self._entries: deque[_Entry] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, packet: bytes, policy: Overflow, key: str | None = None) -> Verdict:
        """Adds a packet or says why not. With DROP_OLDEST, LATEST and NEVER it may be queued at others' cost."""
        if policy is Overflow.VOLATILE:
            self.dropped += 1
            return Verdict.DROPPED
        size = len(packet)
        if policy is Overflow.LATEST and key is not None:
            self._forget(lambda entry: entry.policy is Overflow.LATEST and entry.key == key, 1)
        if self.size_bytes + size > self.limit_bytes:
            if policy is Overflow.DISCONNECT:
                return Verdict.DISCONNECT
            if not self._make_room(size, _YIELDING[policy]):
                if policy is Overflow.NEVER:
                    return Verdict.DISCONNECT
                self.dropped += 1
                return Verdict.DROPPED
        self._entries.append(_Entry(packet, policy, key))
        self.size_bytes += size
        return Verdict.QUEUED

    def take(self) -> bytes | None:
        """The next packet to write; None when nothing waits."""
        if not self._entries:
            return None
        packet = self._entries.popleft().packet
        self.size_bytes -= len(packet)
        return packet

    def _make_room(self, size: int, droppable: tuple[Overflow, ...]) -> bool:
        """Drops the oldest of these policies until `size` fits; drops nothing when it cannot fit."""
        most = sum(len(entry.packet) for entry in self._entries if entry.policy in droppable)
        if self.size_bytes - most + size > self.limit_bytes:
            return False
        kept: deque[_Entry] = deque()
        for entry in self._entries:
            if entry.policy in droppable and self.size_bytes + size > self.limit_bytes:
                self.size_bytes -= len(entry.packet)
                self.dropped += 1
            else:
                kept.append(entry)
        self._entries = kept
        return True

    def _forget(self, matches: object, most: int) -> None:
        """Takes out entries that a newer one replaces."""
        assert callable(matches)
        kept: deque[_Entry] = deque()
        for entry in self._entries:
            if most and matches(entry):
                most -= 1
                self.size_bytes -= len(entry.packet)
                self.dropped += 1
            else:
                kept.append(entry)
        self._entries = kept
