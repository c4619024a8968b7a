from __future__ import annotations

import sys
import threading

import pytest

from mycelia.observability.loop_watchdog import StallWatch, blamed
from tests.unit.kernel.support import route_to


def test_the_innermost_route_of_the_stack_is_blamed() -> None:
    def inner(route: object) -> tuple[str, str]:
        return blamed(sys._getframe())

    def outer(route: object, nested: object) -> tuple[str, str]:
        return inner(nested)

    assert outer(route_to("app://outer"), route_to("app://inner"))[0] == "app://inner"
    path, place = outer(route_to("app://outer"), "no route")
    assert path == "app://outer" and "inner" in place and "test_loop_watchdog.py:" in place
    assert blamed(None) == ("", "nowhere")


def test_a_stall_is_told_once_and_then_the_next(caplog: pytest.LogCaptureFixture) -> None:
    watch = StallWatch(0.01, 0.01)
    told = threading.Event()

    def block(route: object, stalls: int) -> None:
        patience = 1000
        while watch.stalls < stalls and patience:
            told.wait(0.01)
            patience -= 1

    watch.start()
    try:
        block(route_to("app://first"), 1)
        assert (watch.stalls, watch.last) == (1, "app://first")
        told.wait(0.1)
        assert watch.stalls == 1, "one stall is told once"
        watch.beat()
        block(route_to("app://second"), 2)
        assert (watch.stalls, watch.last) == (2, "app://second")
    finally:
        watch.stop()
    watch.stop()
    assert sum("the handler of app://" in each.getMessage() for each in caplog.records) == 2
