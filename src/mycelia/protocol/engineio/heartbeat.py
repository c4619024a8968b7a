"""The heartbeat of an Engine.IO session: when the server pings, and when a silent client is given up."""

from __future__ import annotations

from math import inf

__all__ = ["HeartbeatTimer"]


class HeartbeatTimer:
    """The heartbeat times of one session, in seconds of any monotonic clock.

    Attributes:
        ping_due: The time of the next ping; infinity while the server waits for an answer.
        pong_due: The time by which the client must answer; infinity if no ping is unanswered.
    """

    __slots__ = ("_interval", "_timeout", "ping_due", "pong_due")

    def __init__(self, interval: float, timeout: float, now: float) -> None:
        self._interval, self._timeout = interval, timeout
        self.ping_due = now + interval
        self.pong_due = inf

    def record_activity(self, now: float) -> None:
        """Record a packet of the client, which counts as the answer to a ping."""
        if self.pong_due != inf:
            self.pong_due, self.ping_due = inf, now + self._interval

    def start_ping(self, now: float) -> bool:
        """Return True if a ping is due. The ping then counts as sent.

        If the timer is a little late, the client still gets only the time that the handshake announced. If the timer is
        very late, this process was busy, and the client gets the full time.
        """
        late = now - self.ping_due
        if late < 0:
            return False
        self.pong_due = (now if late > self._timeout / 4 else self.ping_due) + self._timeout
        self.ping_due = inf
        return True

    def has_timed_out(self, now: float) -> bool:
        """Return True if the client has not answered in time.

        If the timer is very late, this process was busy and may not have read the answer yet. The client then gets a
        quarter of the timeout more.
        """
        late = now - self.pong_due
        if late > self._timeout / 4:
            self.extend(now)
            return False
        return late >= 0

    def extend(self, now: float) -> None:
        """Give the client more time if its answer is overdue, because the server has not read its input."""
        if self.pong_due <= now:
            self.pong_due = now + self._timeout / 4
