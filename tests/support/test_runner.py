from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Coroutine

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.leaks import Holdings
from tests.support.runner import LoopKind, run_async

KINDS: list[LoopKind] = ["uvloop", "asyncio"]


def failure(test: Coroutine[object, object, object], kind: LoopKind = "uvloop", seconds: float = 5.0) -> str:
    with pytest.raises(pytest.fail.Exception) as caught:
        run_async(test, kind, seconds)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_test_that_hangs_fails_with_the_place_where_it_waits(kind: LoopKind) -> None:
    async def waits_for_ever() -> None:
        await asyncio.Event().wait()

    async def hangs() -> None:
        await waits_for_ever()

    text = failure(hangs(), kind, 0.01)
    assert "not done after 0.01 s" in text
    assert text.index("hangs") < text.index("waits_for_ever") < text.index("locks.py")


@pytest.mark.parametrize("outcome", [None, ValueError("other")])
def test_a_test_that_hangs_fails_whatever_it_makes_of_its_cancellation(outcome: Exception | None) -> None:
    async def hides() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if outcome is not None:
                raise outcome from None

    assert "not done after" in failure(hides(), seconds=0.01)


def test_a_task_that_outlives_its_test_is_named() -> None:
    async def leaves_a_task() -> None:
        tasks.append(asyncio.create_task(asyncio.Event().wait(), name="orphan"))

    tasks: list[asyncio.Task[bool]] = []
    assert "1 task(s) outlived the test" in (text := failure(leaves_a_task()))
    assert "orphan" in text


def test_a_task_that_is_ending_may_end() -> None:
    async def leaves_an_ending_task() -> None:
        tasks.append(asyncio.create_task(asyncio.sleep(0)))

    tasks: list[asyncio.Task[None]] = []
    run_async(leaves_an_ending_task(), "uvloop", 5.0)
    assert tasks[0].done()


def test_an_exception_that_only_the_loop_saw_fails_the_test() -> None:
    def raises() -> None:
        raise ValueError("lost")

    async def loses_an_exception() -> None:
        asyncio.get_running_loop().call_soon(raises)
        await asyncio.sleep(0)

    with pytest.raises(AssertionError, match="reached nobody") as caught:
        run_async(loses_an_exception(), "uvloop", 5.0)
    assert isinstance(caught.value.__cause__, ValueError)


def test_an_error_of_the_test_itself_comes_out_unchanged() -> None:
    async def raises() -> None:
        raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        run_async(raises(), "asyncio", 5.0)


def test_holdings_name_sockets_threads_and_children() -> None:
    before, release = Holdings.now(), threading.Event()
    thread = threading.Thread(target=release.wait, name="lingering", daemon=True)
    thread.start()
    with (
        socket.socket(),
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child,
    ):
        left = before.left_behind(grace=0.0)
        release.set()
    thread.join()
    assert "thread lingering" in left
    if sys.platform == "linux":
        assert f"child process {child.pid}" in left
        assert any(name.startswith("open socket:") for name in left)
    assert before.left_behind() == []


@pytest.mark.every_loop
async def test_every_loop_runs_on_both(loop_kind: LoopKind) -> None:
    assert (type(asyncio.get_running_loop()).__module__.split(".")[0]) == loop_kind


@given(number=st.integers())
async def test_async_examples_run_in_a_loop(number: int) -> None:
    assert asyncio.get_running_loop().is_running() and number == int(str(number))
