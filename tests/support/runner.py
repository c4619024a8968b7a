"""Runs one async test in a loop of its own, and fails it for what it leaves behind.

A test fails when it exceeds its time (with the stacks of all tasks), when a task outlives it, or when
an exception reached the loop's exception handler, that is: nobody.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from types import FrameType
from typing import Literal

import pytest

__all__ = ["GRACE", "LoopKind", "describe_tasks", "run_async"]

LoopKind = Literal["uvloop", "asyncio"]

GRACE = 1.0  # seconds in which tasks that are already ending may end


def run_async(test: Coroutine[object, object, object], loop_kind: LoopKind, seconds: float) -> None:
    """Run `test` to its end in a new loop; whatever goes wrong is raised here."""
    with asyncio.Runner(loop_factory=_loop_factory(loop_kind)) as runner:
        runner.run(_supervise(test, seconds))


def describe_tasks(tasks: Iterable[asyncio.Task[object]]) -> str:
    """Name each task and where it waits, innermost line last."""
    return "\n".join(f"{task!r}\n{_stack(task)}" for task in tasks)


def _loop_factory(kind: LoopKind) -> Callable[[], asyncio.AbstractEventLoop]:
    if kind == "asyncio" or sys.platform == "win32":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


async def _supervise(test: Coroutine[object, object, object], seconds: float) -> None:
    loop, main = asyncio.get_running_loop(), asyncio.current_task()
    assert main is not None
    expired: list[str] = []
    unhandled: list[dict[str, object]] = []

    def expire() -> None:
        expired.append(describe_tasks(asyncio.all_tasks()))
        main.cancel()

    loop.set_exception_handler(lambda _loop, context: unhandled.append(context))
    alarm = loop.call_later(seconds, expire)
    try:
        await test
    except BaseException:
        if not expired:
            raise
    finally:
        alarm.cancel()
    if expired:  # whatever the test made of its cancellation
        pytest.fail(f"not done after {seconds:g} s; at that moment:\n{expired[0]}", pytrace=False)
    await _fail_for_tasks(main)
    _fail_for_unhandled(unhandled)


async def _fail_for_tasks(main: asyncio.Task[object]) -> None:
    left = asyncio.all_tasks() - {main}
    if left:
        _, left = await asyncio.wait(left, timeout=GRACE)
    if left:
        pytest.fail(f"{len(left)} task(s) outlived the test:\n{describe_tasks(left)}", pytrace=False)


def _fail_for_unhandled(contexts: list[dict[str, object]]) -> None:
    for context in contexts:
        error = context.get("exception")
        cause = error if isinstance(error, BaseException) else None
        raise AssertionError(f"an exception reached nobody but the loop: {context}") from cause


def _stack(task: asyncio.Task[object]) -> str:
    places = [(frame.f_code, frame.f_lineno) for frame in _frames(task.get_coro())]
    return "\n".join(f"    {code.co_filename}:{line} {code.co_name}" for code, line in places)


def _frames(awaited: object) -> Iterator[FrameType]:
    # Task.get_stack() shows only the outermost frame of a suspended task; what it waits for is the point.
    while awaited is not None:
        for prefix in ("cr", "gi", "ag"):
            frame = getattr(awaited, f"{prefix}_frame", None)
            if isinstance(frame, FrameType):
                yield frame
                awaited = getattr(awaited, f"{prefix}_await" if prefix != "gi" else "gi_yieldfrom", None)
                break
        else:
            return
