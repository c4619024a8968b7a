"""One handler is run: what it learns, how long it may take, in whose task, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from mycelia.errors import RequestTimeout
from mycelia.kernel.messages.current import CURRENT
from mycelia.kernel.routing.router import Route
from mycelia.observability.counters import Counter
from mycelia.realtime.inbound.client_message import ClientMessage
from mycelia.realtime.inbound.invoke import Invoker, clear_cancellation
from tests.unit.realtime.support import Stage, TimeLoop, in_fake_time, staged, turns, until

PLACE: ContextVar[str] = ContextVar("PLACE", default="nowhere")
each_place = pytest.mark.parametrize("isolated", [False, True], ids=["here", "isolated"])


class Stand:
    """A room with one handler and the connection of one client."""

    def __init__(self, stage: Stage, handler: Callable[..., Any], **settings: Any) -> None:
        self.stage = stage
        self.route: Route = stage.app.register_route("app://{name}", handler, expose=True, **settings)
        self.connection, _ = stage.open()
        core = stage.core
        self.invoker = Invoker(core.config.limits.handler_timeout, core.tasks, core.counters)
        self.message = ClientMessage("app://it", {"a": 1}, self.connection.session, None, "t")

    async def run(self, timeout: float | None = None) -> Any:
        async with asyncio.timeout(8):  # of the test; what is tested is shorter
            return await self.invoker.run(self.route, self.message, {"name": "it"}, timeout)

    @property
    def timed_out(self) -> int:
        return self.stage.core.counters[Counter.HANDLER_TIME]

    def isolated_tasks(self) -> set[str]:
        return {name for each in asyncio.all_tasks() if "isolated" in (name := each.get_name())}


async def never(message: Any, params: Any, options: Any) -> None:
    await asyncio.Event().wait()


# -- what it returns and learns ------------------------------------------------------------------------------


@each_place
@pytest.mark.parametrize("kind", ["plain", "async", "awaitable"])
async def test_what_the_handler_returns(kind: str, isolated: bool) -> None:
    seen: list[Any] = []

    def plain(message: Any, params: Any, options: Any) -> Any:
        seen.append((message, params, options, CURRENT.get()))
        return message.body

    async def later(message: Any, params: Any, options: Any) -> Any:
        await asyncio.sleep(0)
        return plain(message, params, options)

    def awaitable(message: Any, params: Any, options: Any) -> Any:
        return later(message, params, options)

    async with staged() as stage:
        stand = Stand(stage, {"plain": plain, "async": later, "awaitable": awaitable}[kind], isolated=isolated)
        assert await stand.run() == {"a": 1} and await stand.run(5.0) == {"a": 1}
        options = stand.connection.session.options
        current = stand.route, stand.message, options
        assert seen == [(stand.message, {"name": "it"}, options, current)] * 2
        assert stand.timed_out == 0 and not stand.isolated_tasks()


@each_place
async def test_what_the_handler_raises(isolated: bool) -> None:
    async def fails(message: Any, params: Any, options: Any) -> None:
        raise KeyError("its own")

    async with staged() as stage:
        with pytest.raises(KeyError, match="its own"):
            await Stand(stage, fails, isolated=isolated).run(5.0)


# -- time ----------------------------------------------------------------------------------------------------


@each_place
@pytest.mark.parametrize(
    ("asked", "most", "counts"), [(0.01, 0.0, 0.01), (None, 0.01, 0.01), (60.0, 0.01, 0.01), (0.01, 60.0, 0.01)]
)
async def test_the_shorter_of_what_is_asked_and_what_is_allowed(
    asked: float | None, most: float, counts: float, isolated: bool
) -> None:
    ended: list[str] = []

    async def slow(message: Any, params: Any, options: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with staged(limits={"handler_timeout": most}) as stage:
        stand = Stand(stage, slow, isolated=isolated)
        with pytest.raises(RequestTimeout) as caught:
            await stand.run(asked)
        assert (caught.value.what, caught.value.seconds) == (stand.route.path, counts)
        assert ended == ["cancelled"] and stand.timed_out == 1
        await until(lambda: not stand.isolated_tasks())
        task = asyncio.current_task()
        assert task is not None and task.cancelling() == 0, "the deadline leaves nothing behind in the caller's task"


@each_place
async def test_a_timeout_of_the_handlers_own_is_an_error_like_any_other(isolated: bool) -> None:
    async def impatient(message: Any, params: Any, options: Any) -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    async with staged(limits={"handler_timeout": 60.0}) as stage:
        stand = Stand(stage, impatient, isolated=isolated)
        with pytest.raises(TimeoutError):
            await stand.run()
        assert stand.timed_out == 0


@each_place
def test_what_a_handler_makes_of_its_deadline_is_its_answer(isolated: bool) -> None:
    async def prepared(message: Any, params: Any, options: Any) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "as far as I came"
        return ""

    async def scenario(loop: TimeLoop) -> None:  # in which no handler is too late to begin
        async with staged() as stage:
            stand = Stand(stage, prepared, isolated=isolated)
            assert await stand.run(1.0) == "as far as I came" and stand.timed_out == 0
            task = asyncio.current_task()
            assert task is not None and task.cancelling() == 0

    in_fake_time(scenario)


# -- in whose task -------------------------------------------------------------------------------------------


async def test_an_isolated_handler_has_a_task_and_a_context_of_its_own() -> None:
    tasks: list[object] = []

    async def moves(message: Any, params: Any, options: Any) -> str:
        tasks.append(asyncio.current_task())
        before = PLACE.get()
        PLACE.set(message.path)
        return before

    async with staged() as stage:
        stand = Stand(stage, moves, isolated=True)
        PLACE.set("caller")
        assert [await stand.run(), await stand.run(5.0)] == ["caller", "caller"]
        assert PLACE.get() == "caller"
        assert len({*tasks, asyncio.current_task()}) == 3


async def test_any_other_handler_runs_in_the_callers() -> None:
    async def moves(message: Any, params: Any, options: Any) -> object:
        PLACE.set(message.path)
        return asyncio.current_task()

    async with staged() as stage:
        assert await Stand(stage, moves).run(5.0) is asyncio.current_task()
        assert PLACE.get() == "app://it"


@each_place
async def test_cancelling_the_caller_cancels_the_handler_once(isolated: bool) -> None:
    ended: list[str] = []

    async def patient(message: Any, params: Any, options: Any) -> None:
        ended.append("began")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            await turns(3)
            ended.append("cleaned up")
            raise

    async with staged() as stage:
        stand = Stand(stage, patient, isolated=isolated)
        caller = asyncio.create_task(stand.run(60.0))
        await until(lambda: ended)
        assert len(stand.isolated_tasks()) == isolated
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert ended == ["began", "cancelled", "cleaned up"] and stand.timed_out == 0
        assert not stand.isolated_tasks()


async def test_an_isolated_handler_does_not_outlive_the_server() -> None:
    async with staged() as stage:
        stand = Stand(stage, never, isolated=True)
        caller = asyncio.create_task(stand.run())
        await until(stand.isolated_tasks)
        await stage.core.close(0.01)
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert not stand.isolated_tasks()


# -- cancellations of its own making -------------------------------------------------------------------------


@pytest.mark.parametrize("times", [0, 1, 3])
async def test_requests_to_cancel_are_forgotten_all_at_once(times: int) -> None:
    async def handler() -> str:
        task = asyncio.current_task()
        assert task is not None
        for _ in range(times):
            task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            clear_cancellation()
        assert task.cancelling() == 0
        await asyncio.sleep(0)
        async with asyncio.timeout(8):  # which would take a cancellation that is left over for its own
            await asyncio.sleep(0)
        return "went on"

    assert await asyncio.create_task(handler()) == "went on"


async def test_outside_of_a_task_there_is_nothing_to_forget() -> None:
    done = asyncio.get_running_loop().create_future()

    def called_by_the_loop() -> None:
        assert asyncio.current_task() is None
        clear_cancellation()
        done.set_result(None)

    asyncio.get_running_loop().call_soon(called_by_the_loop)
    async with asyncio.timeout(8):
        await done
