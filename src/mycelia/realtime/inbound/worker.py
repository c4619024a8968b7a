"""Runs the requests of one connection in order, in one task that is kept while they come.

Measured per request at 64 connections with one in flight: a new task for every read costs 14.6 µs, a kept
task 12.9. The kept task gives every handler a real `asyncio.current_task()`, order for nothing, and one
thing to cancel when the client leaves. Replies are corked: those to the messages of one read leave in one
write, and none of them waits for a later handler, because a handler that suspends lets the flush run that
was scheduled before it began.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mycelia.protocol.wire.codes import Close
from mycelia.protocol.wire.envelope import Event, Request
from mycelia.realtime.connection.state import Phase

if TYPE_CHECKING:
    from mycelia.realtime.connection.connection import WebSocketConnection
    from mycelia.realtime.inbound.dispatcher import Dispatch

__all__ = ["CORK_BYTES", "SLICE", "Raw", "Work", "Worker"]

SLICE = 0.0005  # seconds of handlers before others get their turn
CORK_BYTES = 64 * 1024


class Raw(Struct):
    """A decoded message that the application's transform has not seen yet."""

    value: object


Work = Request | Event | Raw | None
"""What waits in a backlog: a request, an event for the default path, or what is to be transformed first.

None stands for a large message, which is decoded when its turn comes: decoded values can be twenty times as large
as the bytes that the backlog is bounded in.
"""


class Worker:
    """The backlog of one connection and the task that works it off."""

    __slots__ = (
        "_alarm",
        "_connection",
        "_dispatch",
        "_grace",
        "_overlapping",
        "_stuck",
        "asleep",
        "backlog",
        "backlog_bytes",
        "began",
        "cork",
        "cork_bytes",
        "flush_handle",
        "leaving",
        "loop",
        "most",
        "most_bytes",
        "overdue",
        "retiring",
        "task",
    )  # fmt: skip

    def __init__(self, connection: WebSocketConnection, dispatch: Dispatch) -> None:
        self._connection, self._dispatch = connection, dispatch
        self.most, self.most_bytes = dispatch.limits.backlog_requests, dispatch.limits.backlog_bytes
        self.loop = asyncio.get_running_loop()
        self.backlog: deque[tuple[Work, bytes]] = deque()  # and the message that it was decoded from
        self.backlog_bytes = 0
        self.cork: list[bytes] = []
        self.cork_bytes = 0
        self.asleep: asyncio.Future[None] | None = None
        self.flush_handle: asyncio.Handle | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._stuck: tuple[Work, bytes] | None = None  # the head of the backlog when newer ones were refused
        self.leaving = False  # the client is gone
        self.retiring = False  # the task ends when it has nothing to do
        self._overlapping: set[asyncio.Task[None]] | None = None
        self.began = 0.0  # when the handler that runs began, where handlers are timed; 0 while none does
        self.overdue = False  # it was told to end because its time was over
        self._alarm: asyncio.TimerHandle | None = None
        self.task = dispatch.runtime.own(dispatch.work(self, connection), name=f"mycelia-worker-{connection.id}")
        self.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """A worker that dies without having been told to must not leave its client waiting for ever."""
        if self._alarm is not None:
            self._alarm.cancel()
        if not self.leaving and (task.cancelled() or task.exception() is not None):
            self._connection.worker = None
            self._connection.close(Close.INTERNAL_ERROR, "internal error")

    # -- in ------------------------------------------------------------------------------------------

    def put(self, work: Work, payload: bytes) -> None:
        """Adds one request; at the bound of the backlog reading pauses."""
        backlog = self.backlog
        backlog.append((work, payload))
        self.backlog_bytes = held = self.backlog_bytes + len(payload)
        asleep = self.asleep
        if asleep is not None:
            self.asleep = None
            if not asleep.done():
                asleep.set_result(None)
        if len(backlog) >= self.most or held >= self.most_bytes:
            self.overfull()

    def wake(self) -> None:
        """There is something to do."""
        asleep, self.asleep = self.asleep, None
        if asleep is not None and not asleep.done():
            asleep.set_result(None)

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits here."""
        return self.asleep is not None and not self.backlog and not self._overlapping

    @property
    def ends(self) -> bool:
        """Whether the task of a retiring worker may end: what overlaps needs it while something may come."""
        return not self.backlog and (not self._overlapping or self._connection.phase is Phase.CLOSED)

    @property
    def tasks(self) -> list[asyncio.Task[Any]]:
        """Everything of this connection that runs."""
        return [self.task, *(self._overlapping or ())]

    @property
    def unanswered(self) -> int:
        """How many requests wait or run."""
        return len(self.backlog) + len(self.tasks) - (self.asleep is not None)

    def retire(self) -> None:
        """Ends the task of an idle worker; its connection makes another when it needs one."""
        if self.idle:
            self.retiring = True
            self.wake()

    def forget(self) -> None:
        """The connection is being closed by this side: what waits is not run any more; what runs may end."""
        self.backlog.clear()
        self.backlog_bytes = 0

    async def part(self, seconds: float) -> None:
        """The client has said goodbye: works off what it sent before, for so long at the most, then as `leave`."""
        self.retiring = True
        self.wake()  # it may sleep beside those that overlap
        if self._grace is not None:
            self._grace.cancel()  # nothing more comes, so nothing need be refused
        until = self.loop.time() + seconds
        try:
            while running := [task for task in self.tasks if not task.done()]:
                if (left := until - self.loop.time()) <= 0:
                    break
                await asyncio.wait(running, timeout=left)
        finally:
            self.leave()

    def leave(self) -> None:
        """The client is gone: cancels what runs, forgets what waits."""
        self.leaving = True
        self.forget()
        self.cork.clear()
        for handle in (self._grace, self.flush_handle, self._alarm):
            if handle is not None:
                handle.cancel()
        for task in list(self._overlapping or ()):
            task.cancel()
        if self.asleep is not None:
            self.wake()  # it ends by itself, without a traceback that keeps the connection alive
        elif self.task is not asyncio.current_task():
            self.task.cancel()

    def overfull(self) -> None:
        """Pauses the peer; if handlers are no faster within the grace, refuses the newest (architecture §4)."""
        if self.backlog and self.backlog[0] is self._stuck:
            self._refuse_newest()  # it was given its time already, and nothing has moved since
            return
        self._connection.pause()
        if self._grace is None:
            self._grace = self.loop.call_later(self._dispatch.limits.pause_timeout, self._refuse_newest)

    def _refuse_newest(self) -> None:
        self._grace = None
        while len(self.backlog) >= self.most or self.backlog_bytes >= self.most_bytes:
            work, payload = self.backlog.pop()
            self.backlog_bytes -= len(payload)
            self._dispatch.intake.refuse(self._connection, work, payload)
            if not self.backlog:
                break
        self._stuck = self.backlog[0] if self.backlog else None
        self._connection.resume()

    def relieved(self) -> None:
        """Something left the backlog of a paused peer: reads again below half of the bound."""
        if len(self.backlog) * 2 <= self.most and self.backlog_bytes * 2 <= self.most_bytes:
            if self._grace is not None:
                self._grace.cancel()
                self._grace = None
            self._connection.resume()

    def time(self, seconds: float) -> None:
        """A handler begins that may take so long. One timer serves many of them: it rings when the one that runs then
        may be overdue, and is set anew for as long as that has left.
        """
        self.began, self.overdue = monotonic(), False
        if self._alarm is None:
            self._alarm = self.loop.call_later(seconds, self._ring, seconds)

    def _ring(self, seconds: float) -> None:
        self._alarm = None
        if not self.began or self.leaving:
            return
        left = self.began + seconds - monotonic()
        if left > 0:
            self._alarm = self.loop.call_later(left, self._ring, seconds)
        else:
            self.overdue = True
            self.task.cancel()

    # -- out -----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Writes the replies that are held back."""
        handle = self.flush_handle
        if handle is not None:
            self.flush_handle = None
            handle.cancel()
        cork = self.cork
        if cork:
            connection = self._connection
            if len(cork) == 1 or connection.dialect.framed:
                packets = [cork[0] if len(cork) == 1 else b"".join(cork)]
            else:
                packets = cork.copy()
            cork.clear()
            self.cork_bytes = 0
            for packet in packets:
                connection.uncork(packet)

    async def clear_cancellation(self) -> None:
        """A handler left a cancellation of the task behind; it must not reach the next handler.

        Before Python 3.13 `uncancel` leaves it pending, so a suspension is made for it to come out at.
        """
        while self.task.uncancel():
            pass
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if self.leaving:
                raise

    # -- beside ------------------------------------------------------------------------------------

    def overlap(self, work: Request, payload: bytes) -> bool:
        """Runs a request of a `concurrent` route beside the others; False at the cap."""
        if self._overlapping is None:
            self._overlapping = set()
        if len(self._overlapping) >= self._dispatch.limits.concurrent_requests:
            return False
        task = self._dispatch.runtime.own(self._run_beside(work, payload), name=f"mycelia-beside-{self._connection.id}")
        self._overlapping.add(task)
        task.add_done_callback(self._overlapping.discard)
        return True

    async def _run_beside(self, work: Request, payload: bytes) -> None:
        packet = await self._dispatch.answer(self._connection, work, payload, beside=True)
        if packet is not None and not self.leaving:
            self._connection.push(packet)
