"""Fair FIFO schedulers that spread expensive work over iterations of the event loop.

Each connection bounds what it does in one go. But many connections that all use their bound would still make one
iteration as long as all bounds together, and every other connection waits for it. So work that takes long asks here
first. Cheap work never does.

- `FairScheduler`: a connection asks for a slot when it has many requests at once, has used up its time slice, or has a
  large message to inflate or decode.
- `ReadScheduler`: a connection that has filled a whole read asks before it reads again.

Both admit `PER_ITERATION` callers in one iteration, in the order in which they asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

__all__ = ["LONG_ITERATION", "PER_ITERATION", "FairScheduler", "ReadScheduler"]

LONG_ITERATION = 0.002
"""Seconds. After an iteration that took longer, the next one admits no expensive work."""
PER_ITERATION = 2
"""Callers that one iteration admits. A slot, or what one read brings, may take a millisecond."""


class FairScheduler:
    """A fair FIFO semaphore whose slots last for one iteration of the event loop.

    The queue is as long as the number of callers that wait; each caller waits for one slot at a time. After an
    iteration longer than `LONG_ITERATION` no slot is granted in the next one, so that cheap requests can run.
    """

    __slots__ = ("_at", "_clock", "_granted", "_scheduled", "_waiting")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._waiting: deque[tuple[asyncio.Future[None], bool]] = deque()
        self._scheduled = False
        self._granted = False  # the previous iteration granted a slot
        self._at = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    async def acquire(self, *, exclusive: bool = False) -> None:
        """Wait for a slot, which comes in a later iteration. A caller that is cancelled leaves the queue.

        Args:
            exclusive: Share the iteration with no other caller, for work that may take longer than one should.
        """
        await self._enqueue(exclusive)

    def call(self, callback: Callable[[], object]) -> Callable[[], object]:
        """Call `callback` in a later iteration, in an exclusive slot.

        Returns:
            A function that cancels the call.
        """
        slot = self._enqueue(True)
        slot.add_done_callback(lambda done: None if done.cancelled() else callback())
        return slot.cancel

    def _enqueue(self, exclusive: bool) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        slot = loop.create_future()
        self._waiting.append((slot, exclusive))
        if not self._scheduled:
            self._scheduled = True
            self._at = self._clock()
            loop.call_soon(self._grant)
        return slot

    def _grant(self) -> None:
        now = self._clock()
        took, self._at = now - self._at, now
        loop = asyncio.get_running_loop()
        # The callers wake up in the next iteration. This function runs after them there, so it measures their work.
        if self._granted and took > LONG_ITERATION:
            self._granted = False  # what has arrived meanwhile is read now and handled in the next iteration
            loop.call_soon(self._grant)
            return
        granted = 0
        while self._waiting and granted < PER_ITERATION:
            slot, exclusive = self._waiting[0]
            if exclusive and granted and not slot.done():
                break
            self._waiting.popleft()
            if not slot.done():
                slot.set_result(None)
                granted = PER_ITERATION if exclusive else granted + 1
        self._granted = self._scheduled = granted > 0
        if granted:
            loop.call_soon(self._grant)


class ReadScheduler:
    """A FIFO of connections that have filled a whole read and may read again, two in each iteration.

    A connection that sends without end gets one read in an iteration. Many such connections together get no more than
    `PER_ITERATION`. Unlike a slot of `FairScheduler`, a read starts in the very next iteration and is a plain call:
    it needs neither a future nor the clock.
    """

    __slots__ = ("_scheduled", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, resume: Callable[[], None]) -> None:
        """Call `resume` in a later iteration. A connection waits here once at most."""
        self._waiting.append(resume)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        try:
            for _ in range(min(PER_ITERATION, len(self._waiting))):
                self._waiting.popleft()()
        finally:  # a callback that raises must not stop the others
            self._scheduled = bool(self._waiting)
            if self._scheduled:
                asyncio.get_running_loop().call_soon(self._run)
