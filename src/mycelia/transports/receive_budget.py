"""How much the unfinished messages of all connections of an engine hold, and who goes when it is too much."""

from __future__ import annotations

from typing import Protocol

from mycelia.protocol.wire.codes import Close

__all__ = ["Holder", "Holdings"]


class Holder(Protocol):
    """A connection that may hold a part of a message."""

    held_bytes: int

    def fail(self, code: int, reason: str) -> None:
        """Says why and hangs up; reports before it returns that nothing is held any more."""


class Holdings:
    """Keeps count; above the limit the largest holder is told to come back later.

    One connection may always have one message of the allowed size on its way, so the limit is never below two of
    those; who trickles many of them is who loses.
    """

    __slots__ = ("_holders", "limit_bytes", "total_bytes")

    def __init__(self, limit_bytes: int, message_bytes: int) -> None:
        self.limit_bytes = max(limit_bytes, 2 * message_bytes)
        self.total_bytes = 0
        self._holders: set[Holder] = set()

    def changed(self, holder: Holder, change: int) -> None:
        """`holder.held_bytes` has changed by `change`."""
        self.total_bytes += change
        if holder.held_bytes:
            self._holders.add(holder)
        else:
            self._holders.discard(holder)
        if change > 0 and self.total_bytes > self.limit_bytes:
            # Each is asked once: one that hangs up already may have nothing to let go of.
            for largest in sorted(self._holders, key=lambda each: each.held_bytes, reverse=True):
                if self.total_bytes <= self.limit_bytes:
                    break
                largest.fail(Close.SERVICE_RESTART, "too much of unfinished messages is held; come back later")
