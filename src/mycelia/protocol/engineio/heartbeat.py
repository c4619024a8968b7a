"""When an Engine.IO server pings, and when a client that does not answer is gone."""

from __future__ import annotations

from math import inf

__all__ = ["Heart"]


class Heart:
    """The times of one session's heartbeat, in seconds of any clock."""

    __slots__ = ("_interval", "_timeout", "ping_due", "pong_due")

    def __init__(self, interval: float, timeout: float, now: float) -> None:
        self._interval, self._timeout = interval, timeout
        self.ping_due = now + interval  # infinity while an answer is awaited
        self.pong_due = inf

    def alive(self, now: float) -> None:
        """The client has sent something."""
        if self.pong_due != inf:
            self.pong_due, self.ping_due = inf, now + self._interval

    def beats(self, now: float) -> bool:
        """Whether a ping is due; it then counts as sent.

        A clock read a little late must not give the client longer than it was told; one read much later says that this
        process was busy, for which no client is to blame.
        """
        late = now - self.ping_due
        if late < 0:
            return False
        self.pong_due = (now if late > self._timeout / 4 else self.ping_due) + self._timeout
        self.ping_due = inf
        return True

    def lost(self, now: float) -> bool:
        """Whether the client has not answered in time. Of a process that was busy it gets a little more of that: what
        the client sent meanwhile has not been read yet.
        """
        late = now - self.pong_due
        if late > self._timeout / 4:
            self.spare(now)
            return False
        return late >= 0

    def spare(self, now: float) -> None:
        """Whoever is not read is not judged yet."""
        if self.pong_due <= now:
            self.pong_due = now + self._timeout / 4
