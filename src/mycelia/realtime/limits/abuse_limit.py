"""The limit on rejections: a client that goes on after many rejections is disconnected (4429)."""

from __future__ import annotations

from mycelia.observability.counters import Counter, EventCounters
from mycelia.protocol.wire.codes import Close
from mycelia.realtime.connection.connection import SessionLink
from mycelia.scheduling.rate_limiter import RateLimiter

__all__ = ["AbuseLimit", "close_for_abuse"]


class AbuseLimit:
    """Counts the rejections of a connection, or of a session that asks for connections, and ends it at the limit.

    Args:
        limiter: The rejections that one client may cause; None for no limit.
        counters: Counts the clients that were disconnected.
    """

    def __init__(self, limiter: RateLimiter | None, counters: EventCounters) -> None:
        self._limiter, self._counters = limiter, counters

    def is_exceeded(self, key: str) -> bool:
        """Count a rejection of a connection or session; return True if it was one too many."""
        if self._limiter is None or not self._limiter.take(key):
            return False
        self._counters.add(Counter.ABUSE)
        return True

    def refused(self, link: SessionLink) -> bool:
        """Count a rejection; return True if it was one too many and the link was closed (4429)."""
        if not self.is_exceeded(link.id):
            return False
        close_for_abuse(link, "too many messages after rejections")
        return True

    def forget(self, key: str) -> None:
        """Forget a connection that is gone."""
        if self._limiter is not None:
            self._limiter.forget(key)


def close_for_abuse(link: SessionLink, reason: str) -> None:
    """Close a link (4429) and read nothing more from its peer; the Close has its own deadline."""
    link.fail_and_close(Close.ABUSE, reason)
    link.stop_reading()
