"""The bounded queue of packets for a peer that reads more slowly than the server writes.

Packets leave in order. Replies and control frames are never dropped. If they alone exceed the bound, or if a packet
with the policy `disconnect` does not fit, `put` returns DISCONNECT and the caller closes the connection (4504). Every
drop is counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, StrEnum
from typing import NamedTuple

__all__ = ["Overflow", "SendQueue", "SendResult"]


class Overflow(StrEnum):
    """The policy for a packet that does not fit into the send queue."""

    DISCONNECT = "disconnect"  # close the connection (4504); the client reconnects and catches up
    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    LATEST = "latest"  # keep only the newest packet of each key; beyond that, as drop_oldest
    VOLATILE = "volatile"  # write at once or drop; never wait
    NEVER = "never"  # a reply: keep it, or close the connection


class SendResult(Enum):
    """What became of a packet that was not written at once."""

    QUEUED = "queued"
    DROPPED = "dropped"
    DISCONNECT = "disconnect"


# The policies whose packets a packet of each policy may displace. A reply displaces everything that may be lost.
_LOSABLE = (Overflow.DROP_OLDEST, Overflow.LATEST)
_DISPLACES = {
    Overflow.DROP_NEWEST: (),
    Overflow.DROP_OLDEST: _LOSABLE,
    Overflow.LATEST: _LOSABLE,
    Overflow.NEVER: (*_LOSABLE, Overflow.DROP_NEWEST),
}


class _Entry(NamedTuple):
    packet: bytes
    policy: Overflow
    key: str | None


class SendQueue:
    """A queue of packets, held by reference and bounded in bytes.

    Attributes:
        limit_bytes: The bound.
        size_bytes: The size of all queued packets.
        dropped: The number of packets that were dropped so far.
    """

    __slots__ = ("_entries", "dropped", "limit_bytes", "size_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        self.dropped = 0
        self._entries: deque[_Entry] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, packet: bytes, policy: Overflow, key: str | None = None) -> SendResult:
        """Add a packet, if its policy and the bound allow it.

        With DROP_OLDEST, LATEST and NEVER the packet may displace older packets.

        Args:
            packet: The packet.
            policy: What to do if the packet does not fit.
            key: With LATEST, an older packet of the same key is replaced.

        Returns:
            QUEUED, DROPPED or DISCONNECT.
        """
        if policy is Overflow.VOLATILE:
            self.dropped += 1
            return SendResult.DROPPED
        size = len(packet)
        if policy is Overflow.LATEST and key is not None:
            self._remove(lambda entry: entry.policy is Overflow.LATEST and entry.key == key, 1)
        if self.size_bytes + size > self.limit_bytes:
            if policy is Overflow.DISCONNECT:
                return SendResult.DISCONNECT
            if not self._make_room(size, _DISPLACES[policy]):
                if policy is Overflow.NEVER:
                    return SendResult.DISCONNECT
                self.dropped += 1
                return SendResult.DROPPED
        self._entries.append(_Entry(packet, policy, key))
        self.size_bytes += size
        return SendResult.QUEUED

    def take(self) -> bytes | None:
        """Remove and return the oldest packet; None if the queue is empty."""
        if not self._entries:
            return None
        packet = self._entries.popleft().packet
        self.size_bytes -= len(packet)
        return packet

    def _make_room(self, size: int, droppable: tuple[Overflow, ...]) -> bool:
        """Drop the oldest packets with these policies until `size` fits. Drop nothing if it cannot fit."""
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

    def _remove(self, matches: Callable[[_Entry], bool], most: int) -> None:
        """Remove up to `most` matching entries, because a newer one replaces them."""
        kept: deque[_Entry] = deque()
        for entry in self._entries:
            if most and matches(entry):
                most -= 1
                self.size_bytes -= len(entry.packet)
                self.dropped += 1
            else:
                kept.append(entry)
        self._entries = kept
