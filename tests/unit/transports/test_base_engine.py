from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from mycelia.errors import EngineError, NotRunning
from mycelia.protocol.http.request import Handshake, HttpReply
from mycelia.transports.base_engine import BaseEngine
from mycelia.transports.engine_options import EngineOptions
from mycelia.transports.engine_registry import load_engine


class Mine(BaseEngine):
    name: ClassVar[str] = "mine"
    library_options: ClassVar[frozenset[str]] = frozenset({"size", "speed"})

    def __init__(self, failure: BaseException | None = None) -> None:
        super().__init__()
        self.failure = failure
        self.calls: list[str] = []

    async def on_start(self) -> None:
        self.calls.append(f"start {self.options.port}")
        if self.failure is not None:
            raise self.failure

    async def on_stop(self) -> None:
        self.calls.append("stop")


class Bare(Mine):
    library_options: ClassVar[frozenset[str]] = frozenset()


def admit(request: object) -> HttpReply:
    return HttpReply(404)


def ready(kind: type[Mine] = Mine, *given: Any) -> Mine:
    engine = kind(*given)
    engine.on("admit", admit)
    return engine


async def test_what_every_start_checks() -> None:
    engine = ready()
    await engine.start(EngineOptions(library={"size": 1}))
    with pytest.raises(NotRunning, match=r"the mine engine is already running; stop\(\) it first"):
        await engine.start(EngineOptions(library={"other": 1}))
    with pytest.raises(EngineError, match=r"expected on\('admit', handler\) before start\(\)"):
        await Mine().start(EngineOptions(library={"other": 1}))
    with pytest.raises(EngineError, match="unknown option 'b' for the mine engine; known: size, speed"):
        await ready().start(EngineOptions(library={"c": 1, "size": 1, "b": 1}))
    with pytest.raises(EngineError, match="known: none"):
        await ready(Bare).start(EngineOptions(library={"size": 1}))
    with pytest.raises(EngineError, match="expected the event 'admit', got 'open'"):
        engine.on("open", admit)  # type: ignore[arg-type]


async def test_start_and_stop_call_the_hooks_once_each_run() -> None:
    engine = ready()
    await engine.stop()
    for port in (1, 2):
        await engine.start(EngineOptions(port=port))
        await engine.stop()
        await engine.stop()
    assert engine.calls == ["start 1", "stop", "start 2", "stop"]


async def test_a_start_that_fails_is_cleaned_up_and_may_be_repeated() -> None:
    engine = ready(Mine, OSError("taken"))
    for _ in range(2):
        with pytest.raises(OSError, match="taken"):
            await engine.start(EngineOptions())
    assert engine.calls == ["start 0", "stop"] * 2


def test_an_engine_without_declarations_promises_nothing() -> None:
    engine = Mine()
    assert (engine.capabilities, engine.framed, engine.codec, engine.prefix) == (frozenset(), False, None, False)
    assert (engine.address(), engine.addresses(), engine.refused_for_descriptors) == (None, [], 0)


def test_admit_asks_the_handler_and_answers_503_without_one() -> None:
    request = Handshake("GET", "/", None, None, False)  # type: ignore[arg-type]
    engine = Mine()
    reply = engine.admit(request)
    assert isinstance(reply, HttpReply) and reply.status == 503
    engine.on("admit", admit)
    reply = engine.admit(request)
    assert isinstance(reply, HttpReply) and reply.status == 404


@pytest.mark.parametrize("name", ["picows", "websockets", "memory", "asgi", "socketio"])
async def test_every_engine_makes_these_checks(name: str) -> None:
    make: Callable[[], Any] = load_engine(name)
    engine = make()
    with pytest.raises(EngineError, match="before start"):
        await engine.start(EngineOptions())
    with pytest.raises(EngineError, match="'open'"):
        engine.on("open", lambda request: HttpReply(404))
    engine.on("admit", lambda request: HttpReply(404))
    with pytest.raises(EngineError, match=f"unknown option 'no_such' for the {name} engine; known: "):
        await engine.start(EngineOptions(library={"no_such": 1}))
    await engine.start(EngineOptions())
    with pytest.raises(NotRunning, match=f"the {name} engine is already running"):
        await engine.start(EngineOptions())
    await engine.stop()
