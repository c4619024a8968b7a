"""Pings everybody in turn and hangs up on whoever does not answer (4505).

Any message counts as an answer, and a peer that we stopped reading is not judged. After a turn in which the
loop was blocked nobody is judged either: what they sent meanwhile has not been read yet.
"""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING

from mycelia.protocol.codes import Close
from mycelia.websocket.wheel import TICK, TimerWheel

if TYPE_CHECKING:
    from mycelia.websocket.connection import WebSocketConnection
    from mycelia.websocket.runtime import Runtime

__all__ = ["Heartbeat"]

_QUIET = 25.0  # seconds without a message after which a connection gives up its worker task


class Heartbeat:
    """Decides, when the wheel asks for a connection, what is due."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._interval = runtime.config.connection.ping_interval
        self._timeout = runtime.config.connection.ping_timeout
        self.wheel = TimerWheel()

    def begin(self, connection: WebSocketConnection) -> None:
        """From now on the connection is looked after."""
        connection.beat_at = monotonic()
        self.wheel.put(connection, self._interval or _QUIET)

    def end(self, connection: WebSocketConnection) -> None:
        """No longer."""
        self.wheel.remove(connection)

    def due(self, connection: WebSocketConnection, now: float) -> float:
        """What `WebSocketConnection.due` answers: seconds until the next look, 0 for never."""
        if not connection.is_open:
            return 0.0
        worker = connection.worker
        if worker is not None and time() - connection.active_at > _QUIET:
            worker.retire()
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
            return self._timeout if connection.ping_sent is not None else self._interval
        if clock - sent[0] < self._timeout:
            return self._timeout - (clock - sent[0])
        if connection.paused or self.wheel.late:
            return TICK
        self._runtime.lifecycle.failed(connection, Close.HEARTBEAT_LOST, "no answer to a ping")
        connection.close(Close.HEARTBEAT_LOST, "no answer to a ping")
        return 0.0
