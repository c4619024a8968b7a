"""The packets of one session that wait for the next GET."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from mycelia.protocol.engineio.packets import SEPARATOR, Packet, write_part

__all__ = ["PacketQueue"]

_COST: Final = 64  # bytes of memory that a queued packet takes besides its payload


class PacketQueue:
    """A FIFO of packets that knows its size in bytes.

    Attributes:
        size_bytes: The memory that the packets take, in bytes.
    """

    __slots__ = ("_packets", "size_bytes")

    def __init__(self) -> None:
        self._packets: deque[Packet] = deque()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._packets)

    def fits(self, payload: bytes, limit_bytes: int) -> bool:
        """Return True if a packet with this payload stays within the limit. The first packet may exceed it."""
        return not self._packets or self.size_bytes + len(payload) + _COST <= limit_bytes

    def put(self, packet: Packet, *, first: bool = False) -> None:
        """Add a packet at the end, or with `first` before all others."""
        (self._packets.appendleft if first else self._packets.append)(packet)
        self.size_bytes += len(packet.payload) + _COST

    def take(self) -> Iterator[Packet]:
        """Remove and yield the packets in order. Packets that the caller does not consume stay."""
        while self._packets:
            packet = self._packets.popleft()
            self.size_bytes -= len(packet.payload) + _COST
            yield packet

    def response(self, max_packets: int, max_bytes: int) -> bytes:
        """Remove packets and return them as a response body: at least one, or an empty body if none is queued.

        Args:
            max_packets: The largest number of packets.
            max_bytes: The largest body in bytes. A single packet may exceed it.
        """
        parts: list[bytes] = []
        size = 0
        while self._packets and len(parts) < max_packets:
            part = write_part(self._packets[0])
            if parts and size + len(part) > max_bytes:
                break
            size += len(part) + 1
            parts.append(part)
            self.size_bytes -= len(self._packets.popleft().payload) + _COST
        return SEPARATOR.join(parts)
