"""Replies that are held back so that the replies to the messages of one read leave in one write."""

from __future__ import annotations

import asyncio

from mycelia.realtime.connection.link import Link

__all__ = ["CORK_BYTES", "Cork"]

CORK_BYTES = 64 * 1024  # a cork that holds more is flushed at once


class Cork:
    """The replies of one connection that wait for the end of a run of requests.

    Args:
        link: The link that the replies are written to.

    Attributes:
        packets: The replies, in order. The worker appends to the list and keeps `size_bytes`.
        size_bytes: The size of the replies.
        flush_handle: The scheduled flush; None if none is scheduled.
    """

    __slots__ = ("_link", "_loop", "flush_handle", "packets", "size_bytes")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self.packets: list[bytes] = []
        self.size_bytes = 0
        self.flush_handle: asyncio.Handle | None = None

    def schedule_flush(self) -> None:
        """Flush in the next iteration of the event loop; a handler that suspends lets that happen."""
        self.flush_handle = self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write the replies."""
        self._cancel_flush()
        packets = self.packets
        if packets:
            link = self._link
            if len(packets) == 1 or link.encoder.framed:
                writes = [packets[0] if len(packets) == 1 else b"".join(packets)]
            else:
                writes = packets.copy()
            packets.clear()
            self.size_bytes = 0
            for packet in writes:
                link.uncork(packet)

    def clear(self) -> None:
        """Drop the replies, because the client is gone."""
        self.packets.clear()
        self._cancel_flush()

    def _cancel_flush(self) -> None:
        handle = self.flush_handle
        if handle is not None:
            self.flush_handle = None
            handle.cancel()
