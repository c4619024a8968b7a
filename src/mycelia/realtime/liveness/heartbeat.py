"""Pings every connection in turn and closes those that do not answer (4505), or that are idle or old (`idle_timeout`).

Any message counts as an answer. A peer that the server stopped reading is not checked. After an iteration that blocked
the event loop no peer is checked, because the server has not read yet what peers sent meanwhile.
"""

from __future__ import annotations

from time import monotonic, time

from mycelia.protocol.wire.codes import Close
from mycelia.realtime.connection.link import Link
from mycelia.realtime.liveness.idle_timeout import IdleTimeout
from mycelia.scheduling.timer_wheel import TICK, TimerWheel

__all__ = ["Heartbeat"]

_QUIET = 25.0  # seconds without a message after which a connection gives up its worker task


class Heartbeat:
    """Decides what to do when the timer wheel asks for a connection.

    Args:
        interval: The time between two pings, in seconds; 0 for no pings.
        timeout: How long a peer may take to answer, in seconds.
        idle_timeout: The limits on silence and age.
    """

    def __init__(self, interval: float, timeout: float, idle_timeout: IdleTimeout) -> None:
        self._interval, self._timeout, self._idle_timeout = interval, timeout, idle_timeout
        self.wheel = TimerWheel()

    def begin(self, link: Link) -> None:
        """Check a link from now on."""
        link.pinged_at = monotonic()
        delay = self._interval or _QUIET
        if self._idle_timeout.is_on:
            delay = min(delay, self._idle_timeout.begin(link))
        self.wheel.put(link, delay)

    def end(self, link: Link) -> None:
        """Stop checking a link."""
        self.wheel.remove(link)
        self._idle_timeout.end(link)

    def due(self, link: Link, now: float) -> float:
        """Check a link; return the seconds until the next check, 0 for none."""
        if not link.is_open:
            return 0.0
        worker = link.worker
        if worker is not None and time() - link.active_at > _QUIET:
            worker.retire()
        if not self._idle_timeout.is_on:
            return self._beat(link)
        result = self._idle_timeout.check(link, self.wheel.late)
        if isinstance(result, tuple):
            link.fail_and_close(*result)
            return 0.0
        again = self._beat(link)
        return min(again, result) if again else 0.0

    def _beat(self, link: Link) -> float:
        """Send a ping or check its answer; return the seconds until the next check, 0 if the link was closed."""
        if not self._interval:
            return _QUIET
        clock = monotonic()
        since = clock - link.pinged_at
        sent = link.ping_sent
        if sent is not None and sent[1] != link.active_at:
            sent = link.ping_sent = None  # a message came, so the peer is alive
        if sent is None:
            if since < self._interval - TICK:
                return max(self._interval - since, TICK)
            link.pinged_at = clock
            link.ping()
            return self._interval if link.ping_sent is None else min(self._timeout, self._interval)
        waited = clock - sent[0]
        if waited < self._timeout:
            return self._timeout - waited
        if waited < self._timeout + TICK or link.paused or self.wheel.late:
            return TICK  # one iteration of the event loop more, in which what has arrived is read
        link.fail_and_close(Close.HEARTBEAT_LOST, "no answer to a ping")
        return 0.0
