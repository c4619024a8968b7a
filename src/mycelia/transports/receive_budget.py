"""The budget for the unfinished messages of all connections of one engine."""

from __future__ import annotations

from typing import Protocol

from mycelia.protocol.wire.codes import Close

__all__ = ["BudgetHolder", "ReceiveBudget"]


class BudgetHolder(Protocol):
    """A connection that may hold a part of a message.

    Attributes:
        held_bytes: The number of bytes that it holds.
    """

    held_bytes: int

    def fail(self, code: int, reason: str) -> None:
        """End the connection. It reports before this returns that it holds nothing any more."""


class ReceiveBudget:
    """Counts the bytes of unfinished messages. Above the limit it closes the largest holder with 1012.

    A connection may always have one message of the allowed size in flight, so the limit is at least two such messages.
    A client that trickles many large messages is therefore the one that loses its connection.
    """

    __slots__ = ("_holders", "limit_bytes", "total_bytes")

    def __init__(self, limit_bytes: int, message_bytes: int) -> None:
        self.limit_bytes = max(limit_bytes, 2 * message_bytes)
        self.total_bytes = 0
        self._holders: set[BudgetHolder] = set()

    def changed(self, holder: BudgetHolder, change: int) -> None:
        """Report that `holder.held_bytes` has changed by `change`."""
        self.total_bytes += change
        if holder.held_bytes:
            self._holders.add(holder)
        else:
            self._holders.discard(holder)
        if change > 0 and self.total_bytes > self.limit_bytes:
            # Each holder is asked once: a connection that is closing already may have nothing to release.
            for largest in sorted(self._holders, key=lambda each: each.held_bytes, reverse=True):
                if self.total_bytes <= self.limit_bytes:
                    break
                largest.fail(Close.SERVICE_RESTART, "too much of unfinished messages is held; come back later")
