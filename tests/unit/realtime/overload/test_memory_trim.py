from __future__ import annotations

import gc
import weakref

from mycelia.realtime.overload.memory_trim import MemoryTrim, malloc_trim


class Node:
    def __init__(self) -> None:
        self.itself = self


def test_it_runs_every_step_and_then_not_for_ten_seconds() -> None:
    done: list[str] = []
    now = [5.0]
    relief = MemoryTrim((lambda: done.append("collect"), lambda: done.append("trim")), lambda: now[0])
    assert relief.run() and done == ["collect", "trim"]
    for later, again in ((14.99, False), (15.0, True), (24.0, False), (25.0, True)):
        now[0] = later
        assert relief.run() is again
    assert len(done) == 6


def test_garbage_that_waits_for_the_collector_is_gone() -> None:
    gc.disable()
    try:
        waits = weakref.ref(Node())
        assert waits() is not None
        assert MemoryTrim().run()
        assert waits() is None
    finally:
        gc.enable()


def test_trimming_never_fails() -> None:
    assert isinstance(malloc_trim(), bool)
