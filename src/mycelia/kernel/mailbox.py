"""A bounded queue of messages and the tasks that handle them; every sender gets a result or an error."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, fields
from inspect import isawaitable
from typing import Any, Literal, get_args

from mycelia.errors import ConfigError, Disposed, Overloaded
from mycelia.kernel.facet import Facet
from mycelia.kernel.routing.handler import Call
from mycelia.kernel.routing.router import Route

__all__ = ["Mailbox", "Overflow", "QueueConfig"]

Overflow = Literal["reject", "drop_oldest", "drop_newest", "block"]
_HELD: ContextVar[tuple[_Entry, ...]] = ContextVar("mycelia.held", default=())
_STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """How many messages may wait, how many are handled at once, and what happens to one too many.

    `reject` refuses the newcomer; `drop_newest` does the same and counts it as a drop; `drop_oldest`
    gives its place to it; `block` lets its sender wait for room. Whoever loses gets Overloaded.
    """

    capacity: int = 1000
    concurrency: int = 1
    overflow: Overflow = "reject"

    def __post_init__(self) -> None:
        for name, least in (("capacity", 0), ("concurrency", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"queue.{name}", f"expected an integer of at least {least}, got {value!r}")
        if self.overflow not in get_args(Overflow):
            raise ConfigError(
                "queue.overflow", f"expected one of {', '.join(get_args(Overflow))}, got {self.overflow!r}"
            )

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> QueueConfig:
        """From a mapping; an unknown key raises ConfigError naming the known ones."""
        known = [each.name for each in fields(cls)]
        for key in values:
            if key not in known:
                raise ConfigError(f"queue.{key}", f"unknown; known: {', '.join(known)}")
        return cls(**values)


class _Entry:
    """One message: waiting while it has no task, handled while it has one."""

    __slots__ = ("context", "mailbox", "task", "turn", "work")

    def __init__(self, mailbox: Mailbox, work: Coroutine[Any, Any, Any], context: Context) -> None:
        self.mailbox = mailbox
        self.work = work
        self.context = context
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[Any] | None = None


class Mailbox(Facet):
    """Handles at most `concurrency` messages at a time, each in a task of its own, in order of arrival.

    A sender that is cancelled takes its message with it: out of the queue, or by cancelling its
    handler. What a running handler sends to its own subsystem, directly or by way of others, runs
    within the place that it holds, since it would otherwise wait for itself. Disposing cancels what
    runs and answers whoever waits with Disposed.
    """

    def __init__(self, name: str, config: QueueConfig) -> None:
        self.name = name
        self.config = config
        self.rejected = 0
        self.dropped = 0
        self.cancelled = 0
        self._waiting: dict[_Entry, None] = {}
        self._blocked: dict[_Entry, None] = {}
        self._running: set[_Entry] = set()
        self._closed = False

    def snapshot(self) -> dict[str, int]:
        """How full it is, and what did not get through: rejected, dropped, cancelled while waiting."""
        return {
            "waiting": len(self._waiting),
            "blocked": len(self._blocked),
            "running": len(self._running),
            "rejected": self.rejected,
            "dropped": self.dropped,
            "cancelled": self.cancelled,
        }

    def layer(self, route: Route, inner: Call) -> Call:
        """Lets the handler's calls wait for their turn."""

        async def work(message: Any, params: Any, options: Any) -> Any:
            value = inner(message, params, options)
            return await value if isawaitable(value) else value

        async def call(message: Any, params: Any, options: Any) -> Any:
            if any(held.mailbox is self and held in self._running for held in _HELD.get()):
                return await work(message, params, options)
            return await self.submit(work(message, params, options))

        return call

    async def submit(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of `work`, once it had its turn. Safe to cancel: then it does not run, or stops."""
        entry = _Entry(self, work, copy_context())
        try:
            self._admit(entry)
            await entry.turn
        except BaseException:
            self._leave(entry)
            raise
        task = entry.task
        assert task is not None, "a turn comes with a task"
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if self._closed and task.done() and not (current is not None and current.cancelling()):
                raise Disposed(self.name, begun=True) from None
            raise

    def _admit(self, entry: _Entry) -> None:
        """Gives the entry a task, a place in the queue, or an error, as the policy says."""
        if self._closed:
            raise Disposed(self.name, begun=False)
        if len(self._running) < self.config.concurrency:
            self._start(entry)
        elif len(self._waiting) < self.config.capacity:
            self._waiting[entry] = None
        elif self.config.overflow == "block":
            self._blocked[entry] = None
        elif self.config.overflow == "drop_oldest" and (oldest := _first(self._waiting)) is not None:
            self.dropped += 1
            oldest.turn.set_exception(self._overloaded("dropped for a newer message"))
            self._waiting[entry] = None
        else:
            if self.config.overflow == "reject":
                self.rejected += 1
            else:
                self.dropped += 1
            raise self._overloaded("full")

    def _overloaded(self, why: str) -> Overloaded:
        return Overloaded(f"queue of subsystem {self.name!r}: {why}", self.config.capacity)

    def _start(self, entry: _Entry) -> None:
        self._running.add(entry)
        entry.context.run(self._hold, entry)
        loop = asyncio.get_running_loop()
        entry.task = loop.create_task(entry.work, context=entry.context, name=f"{self.name} queue")
        entry.task.add_done_callback(lambda task: self._ended(entry, task))
        entry.turn.set_result(None)

    def _hold(self, entry: _Entry) -> None:
        # Only places that are still held: a chain of background tasks must not grow for ever.
        _HELD.set((*(held for held in _HELD.get() if held in held.mailbox._running), entry))

    def _ended(self, entry: _Entry, task: asyncio.Task[Any]) -> None:
        self._running.discard(entry)
        if not task.cancelled():
            task.exception()  # its sender may have gone and would otherwise never look
        self._proceed()

    def _proceed(self) -> None:
        """Fills free places with those who wait, and the queue with those who are blocked."""
        while len(self._running) < self.config.concurrency:
            following = _first(self._waiting) or _first(self._blocked)
            if following is None:
                return
            self._start(following)
        while len(self._waiting) < self.config.capacity:
            following = _first(self._blocked)
            if following is None:
                return
            self._waiting[following] = None

    def _leave(self, entry: _Entry) -> None:
        """The sender does not wait any more: its message leaves the queue, or its handler is cancelled."""
        if entry.task is not None:
            entry.task.cancel()
            return
        entry.work.close()
        if entry.turn.cancelled():
            self.cancelled += 1
            self._waiting.pop(entry, None)
            self._blocked.pop(entry, None)
            self._proceed()

    async def dispose(self) -> None:
        """Refuses newcomers, answers whoever waits, cancels what runs and waits for its end."""
        self._closed = True
        for entry in (*self._waiting, *self._blocked):
            if not entry.turn.done():
                entry.turn.set_exception(Disposed(self.name, begun=False))
        self._waiting.clear()
        self._blocked.clear()
        own = asyncio.current_task()
        tasks = [each.task for each in self._running if each.task is not None and each.task is not own]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_SECONDS)


def _first(entries: dict[_Entry, None]) -> _Entry | None:
    """Takes out the oldest entry whose sender still waits; one that was just cancelled is passed over."""
    while entries:
        entry = next(iter(entries))
        del entries[entry]
        if not entry.turn.done():
            return entry
    return None
