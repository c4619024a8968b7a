"""The subsystem as the state machine sees it: a server on the memory engine in a loop whose time is made up.

Every step runs the loop until nothing is left to do, so that what is seen afterwards does not depend on chance. Time
passes only when a step says so, and costs nothing.
"""

from __future__ import annotations

import asyncio
import gc
import json
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVarTuple
from weakref import WeakSet

from mycelia import BaseSubsystem, MessageSystem
from mycelia.errors import HandlerError
from mycelia.protocol.wire.codes import parse_close
from mycelia.protocol.ws.frames import Frame, Opcode
from mycelia.testing.client_connection import memory_engine
from mycelia.transports.memory.engine import MemoryEngine
from mycelia.transports.memory.socket import MemorySocket
from mycelia.websocket import WebSocketSubsystem

__all__ = ["LIMITS", "MAX_BYTES", "PATHS", "Client", "Stage"]

MAX_BYTES = 8192
_Args = TypeVarTuple("_Args")

PATHS = ("value", "plain", "falsy", "unsendable", "error", "raise", "hang", "cancel", "leave", "beside", "alone")
"""What a handler does, by the last segment of its path: `app://value` and so on."""

LIMITS: dict[str, Any] = {
    "max_connections": 6,
    "ping_interval": 20.0,
    "ping_timeout": 5.0,
    "connection_timeout": 10.0,
    "close_timeout": 1.0,
    "pause_timeout": 2.0,
    "backlog_requests": 8,
    "backlog_bytes": 4096,
    "concurrent_requests": 2,
    "outbox_bytes": 16 * 1024,
}


class _Jump(selectors.SelectSelector):
    """Where a loop would wait, whoever waits for quiet is told; if nobody does, time jumps."""

    loop: StageLoop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout > 0:
            quiet, self.loop.quiet = self.loop.quiet, None
            if quiet is not None:
                quiet.set_result(None)
            else:
                assert timeout is not None, "the loop waits for something that will never happen"
                self.loop.now += timeout
        return super().select(0)


class StageLoop(asyncio.SelectorEventLoop):
    """A loop with a time of its own that knows when nothing is left to do, and which timers it still has."""

    def __init__(self) -> None:
        selector = _Jump()
        selector.loop = self
        self.now = 1000.0
        self.quiet: asyncio.Future[None] | None = None
        self._timers: WeakSet[asyncio.TimerHandle] = WeakSet()
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def call_at(
        self, when: float, callback: Callable[[*_Args], object], *args: *_Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = super().call_at(when, callback, *args, context=context)
        self._timers.add(handle)
        return handle

    @property
    def timers(self) -> list[asyncio.TimerHandle]:
        """Those that are still to come."""
        return [each for each in self._timers if not each.cancelled() and each.when() > self.now]

    async def be_quiet(self) -> None:
        """Waits until nothing can happen without time passing."""
        self.quiet = self.create_future()
        await self.quiet

    async def reach(self, when: float) -> None:
        """Waits for a moment."""
        reached = self.create_future()
        self.call_at(when, reached.set_result, None)
        await reached


class Client:
    """One client, and what it knows it may expect."""

    def __init__(self, number: int, socket: MemorySocket) -> None:
        self.number, self.socket = number, socket
        self.name = f"client-{number}"
        self.sent: list[str] = []  # correlation ids of whole requests that want a reply, in the order of sending
        self.unordered: set[str] = set()  # among them those that may overtake others
        self.replies: list[tuple[str, str]] = []  # correlation id, and `success` or the error's code
        self.unasked: list[Any] = []  # what is no reply to anything
        self.fragment: int | None = None  # the opcode of a message that has begun
        self.reading = True
        self.gone = False  # it left, or was told to
        self.close_code: int | None = None

    @property
    def whole(self) -> bool:
        """Whether every request of it must be answered: it reads, and neither side has ended the connection."""
        return self.reading and not self.gone and self.close_code is None

    def take(self) -> bool:
        """Reads all that has come; whether there was anything."""
        came = self.reading and self.socket.unread_bytes > 0
        while self.reading and self.socket.unread_bytes > 0:
            self._sort(_next(self.socket))
        return came

    def _sort(self, frame: Frame) -> None:
        if frame.opcode == Opcode.CLOSE:
            self.close_code = parse_close(frame.payload)[0]
        elif frame.opcode == Opcode.TEXT:
            assert self.close_code is None, "a message came after the server's Close"
            message = json.loads(frame.payload)
            if "success" in message:
                outcome = "success" if message["success"] else message["error"]["code"]
                self.replies.append((message.get("correlationId"), outcome))
            else:
                self.unasked.append(message)


def _next(socket: MemorySocket) -> Frame:
    """The next frame of a socket that has one."""
    step = socket.receive()
    try:
        step.send(None)
    except StopIteration as got:
        assert isinstance(got.value, Frame)
        return got.value
    raise AssertionError("expected a frame that was there")


class Stage:
    """The loop, the server, its clients, and what the application was told."""

    def __init__(self) -> None:
        self.loop = StageLoop()
        self.loop.set_exception_handler(lambda loop, context: self.unhandled.append(context))
        self.unhandled: list[dict[str, Any]] = []
        self.told: dict[str, list[str]] = {}
        self.began: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.completed: Counter[str] = Counter()
        self.seen: WeakSet[Any] = WeakSet()  # every connection object
        self.ran: list[tuple[str, str]] = []  # client and correlation, in the order in which handlers began
        self.hanging: dict[str, asyncio.Future[None]] = {}
        self.verdict: Any = None  # what `connect` answers next
        self.clients: list[Client] = []
        self.left: set[asyncio.Task[Any]] = set()
        self.system = MessageSystem("main")
        self.app = BaseSubsystem("app", ms=self.system)
        config = {"websocket": {"type": "memory", "max_payload": MAX_BYTES, "options": {"socket_bytes": 8192}}}
        limits = {**LIMITS, "generate_connection_id": lambda request: request.headers.get("x-name")}
        self.sockets = WebSocketSubsystem(ms=self.system, config={**config, "connection": limits})
        for path in PATHS:
            alone, beside = path == "alone", path == "beside"
            self.app.register_route(
                f"app://{path}", self._handler(path), expose=True, isolated=alone, concurrent=beside
            )
        for event in ("connect", "disconnect", "error"):
            self.sockets.register_route(f"websocket://{event}", self._teller(event))
        self.do(self._start())

    async def _start(self) -> None:
        await self.app.build()
        await self.sockets.build()
        await self.sockets.websocket.start()

    # -- time ----------------------------------------------------------------------------------------

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs a coroutine to its end."""
        return self.loop.run_until_complete(work)

    def settle(self) -> None:
        """Lets everything happen that can happen without time passing; clients that read, read."""
        self.do(self.loop.be_quiet())
        while sum(client.take() for client in self.clients):
            self.do(self.loop.be_quiet())

    def pass_time(self, seconds: float) -> None:
        """Lets time pass, in steps short enough for everybody to read."""
        until = self.loop.time() + seconds
        while self.loop.time() < until:
            self.do(self.loop.reach(min(until, self.loop.time() + 0.5)))
            self.settle()

    def attempt(self, work: Coroutine[Any, Any, Any]) -> BaseException | None:
        """Runs what may have to wait for the other side: given up when it cannot be done now.

        Returns what it raised; TimeoutError when it had to wait.
        """
        return self.do(self._attempt(work))  # type: ignore[no-any-return]  # `do` runs anything

    async def _attempt(self, work: Coroutine[Any, Any, Any]) -> BaseException | None:
        task = asyncio.create_task(work)
        await self.loop.be_quiet()
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
            return TimeoutError()
        return task.exception()

    # -- the application -----------------------------------------------------------------------------

    def _teller(self, event: str) -> Callable[..., Any]:
        async def tell(message: Any, params: Any, options: Any) -> Any:
            self.seen.add(message.connection)
            self.told.setdefault(options.connection_id, []).append(event)
            if event != "connect":
                return None
            verdict, self.verdict = self.verdict, None
            if verdict == "hang":
                await self._hang(options.connection_id)
            if verdict == "raise":
                raise ValueError("connect broke")
            if verdict == "cancel":
                raise asyncio.CancelledError
            return {"success": False} if verdict == "refuse" else None

        return tell

    async def _hang(self, key: str) -> None:
        future = self.hanging[key] = asyncio.get_running_loop().create_future()
        try:
            await future
        finally:
            self.hanging.pop(key, None)

    def _handler(self, path: str) -> Callable[..., Any]:
        async def handle(message: Any, params: Any, options: Any) -> Any:
            key = str(message.metadata.correlation_id)
            self.ran.append((options.connection_id, key))
            self.began[path] += 1
            try:
                value = await self._behave(path, key, options)
                self.completed[path] += 1
                return value
            finally:
                self.ended[path] += 1

        def plain(message: Any, params: Any, options: Any) -> Any:
            self.ran.append((options.connection_id, str(message.metadata.correlation_id)))
            self.began[path] += 1
            self.ended[path] += 1
            self.completed[path] += 1
            return {"plain": True}

        return plain if path == "plain" else handle

    async def _behave(self, path: str, key: str, options: Any) -> Any:
        match path:
            case "falsy":
                return None
            case "unsendable":
                return object()
            case "error":
                raise HandlerError("no", code="NOPE")
            case "raise":
                raise ZeroDivisionError
            case "hang":
                await self._hang(key)
            case "cancel":
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(0)
            case "leave":
                connection = self.sockets.websocket.get_connection(options.connection_id)
                assert connection is not None
                connection.close(1000, "the handler said so")
            case "beside" | "alone":
                for _ in range(3):
                    await asyncio.sleep(0)
        return {"path": path}

    def release(self) -> None:
        """Whatever hangs goes on."""
        for future in list(self.hanging.values()):
            if not future.done():
                future.set_result(None)

    # -- the end -------------------------------------------------------------------------------------

    @property
    def engine(self) -> MemoryEngine:
        return memory_engine(self.system)

    def snapshot(self) -> dict[str, dict[str, int]]:
        """Handled and failed, by path, as the statistics say."""
        statistics = self.app.find("statistics")
        assert statistics is not None
        found: dict[str, dict[str, int]] = statistics.snapshot()["routes"]
        return found

    def finish(self) -> None:
        """Stops everything; raises AssertionError for what is left over."""
        try:
            ids = [client.name for client in self.clients]
            facet = self.sockets.websocket
            self.do(facet.stop())
            self.settle()
            assert facet.get_connection_count() == 0
            assert [each for each in ids if facet.get_connection(each) is not None] == []
            counted = self.snapshot()
            self.do(self.system.dispose())
            self.settle()
            assert asyncio.all_tasks(self.loop) == set()
            assert self.loop.timers == []
            assert self.unhandled == []
            assert self.began == self.ended, "a handler was never ended"
            self._check_counters(counted)
            for client in self.clients:
                del client.socket  # it holds the server's end, and with it the context that it was closed in
            gc.collect()
            assert list(self.seen) == [], "connections that nobody can find any more are still in memory"
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.do(asyncio.sleep(0))
            self.loop.close()

    def _check_counters(self, counted: dict[str, dict[str, int]]) -> None:
        """Handled is what was answered, failed what was not or with an error; nobody counts what its client left."""
        for path in PATHS:
            handled, failed = counted[f"app://{path}"]["handled"], counted[f"app://{path}"]["failed"]
            began, completed = self.began[path], self.completed[path]
            assert handled + failed <= began, (path, handled, failed, began)
            if path in ("error", "raise"):
                assert (handled, failed) == (0, began), (path, handled, failed, began)
            elif path == "unsendable":  # nobody notices where no reply was wanted
                assert handled + failed == began, (path, handled, failed, began)
            elif path == "alone":  # its own task may end while the one that waits for it is cancelled
                assert handled <= completed, (path, handled, completed)
            else:
                assert handled == completed, (path, handled, completed)
