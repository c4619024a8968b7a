"""Pings everybody in turn and hangs up on whoever does not answer (4505), or has grown too old (`ageing`).

Any message counts as an answer, and a peer that we stopped reading is not judged. After a turn in which the
loop was blocked nobody is judged either: what they sent meanwhile has not been read yet.
"""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING

from mycelia.protocol.wire.codes import Close
from mycelia.realtime.liveness.idle_timeout import Ageing
from mycelia.scheduling.timer_wheel import TICK, TimerWheel

if TYPE_CHECKING:
    from mycelia.realtime.connection.connection import WebSocketConnection
    from mycelia.realtime.core import Runtime

__all__ = ["Heartbeat"]

_QUIET = 25.0  # seconds without a message after which a connection gives up its worker task


class Heartbeat:
    """Decides, when the wheel asks for a connection, what is due."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._interval = runtime.config.connection.ping_interval
        self._timeout = runtime.config.connection.ping_timeout
        self.ageing = Ageing(runtime.config.limits)
        self.wheel = TimerWheel()

    def begin(self, connection: WebSocketConnection) -> None:
        """From now on the connection is looked after."""
        connection.beat_at = monotonic()
        until = self._interval or _QUIET
        if self.ageing.on:
            until = min(until, self.ageing.begin(connection))
        self.wheel.put(connection, until)

    def end(self, connection: WebSocketConnection) -> None:
        """No longer."""
        self.wheel.remove(connection)
        self.ageing.end(connection)

    def due(self, connection: WebSocketConnection, now: float) -> float:
        """What `WebSocketConnection.due` answers: seconds until the next look, 0 for never."""
        if not connection.is_open:
            return 0.0
        worker = connection.worker
        if worker is not None and time() - connection.active_at > _QUIET:
            worker.retire()
        if not self.ageing.on:
            return self._beat(connection)
        verdict = self.ageing.verdict(connection, self.wheel.late)
        if isinstance(verdict, tuple):
            self._runtime.lifecycle.hang_up(connection, *verdict)
            return 0.0
        again = self._beat(connection)
        return min(again, verdict) if again else 0.0

    def _beat(self, connection: WebSocketConnection) -> float:
        """Pings, or judges the answer; seconds until the next look, 0 when it has hung up."""
        if not self._interval:
            return _QUIET
        clock = monotonic()
        since = clock - connection.beat_at
        sent = connection.ping_sent
        if sent is not None and sent[1] != connection.active_at:
            sent = connection.ping_sent = None  # a message came: it is alive
        if sent is None:
            if since < self._interval - TICK:
                return max(self._interval - since, TICK)
            connection.beat_at = clock
            connection.ping()
            return self._interval if connection.ping_sent is None else min(self._timeout, self._interval)
        waited = clock - sent[0]
        if waited < self._timeout:
            return self._timeout - waited
        if waited < self._timeout + TICK or connection.paused or self.wheel.late:
            return TICK  # a turn of the loop in between, in which what has arrived is read
        self._runtime.lifecycle.hang_up(connection, Close.HEARTBEAT_LOST, "no answer to a ping")
        return 0.0
