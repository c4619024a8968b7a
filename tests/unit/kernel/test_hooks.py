from __future__ import annotations

from typing import Any

import pytest

from mycelia.errors import ConfigError, HandlerError, NoRoute, NotRunning, RouteError
from mycelia.kernel.hooks import canonical_hooks
from mycelia.kernel.messages.context import Caller, Options
from mycelia.kernel.messages.current import CURRENT
from mycelia.kernel.messages.message import Message
from mycelia.kernel.subsystem import BaseSubsystem
from mycelia.kernel.system import MessageSystem


def test_canonical_hooks() -> None:
    kinds = [each.kind for each in canonical_hooks(queue=True)]
    assert kinds == [
        *("hierarchy", "router", "messages", "processor", "queue", "listeners", "statistics", "health"),
    ]
    assert "queue" not in [each.kind for each in canonical_hooks()]


async def test_every_subsystem_has_the_canonical_facets() -> None:
    subsystem = BaseSubsystem("a", queue={})
    await subsystem.build()
    for each in canonical_hooks(queue=True):
        assert getattr(subsystem, each.kind) is subsystem.find(each.kind)
    await subsystem.dispose()


async def test_router() -> None:
    system = MessageSystem("main")
    subsystem = BaseSubsystem("a", ms=system)
    async with system:
        route = subsystem.router.register("a://x/{id}", lambda id: id, expose=True)
        assert list(subsystem.router) == [route] and route.expose
        assert subsystem.router.match("a://x/1") == (route, {"id": "1"})
        assert await system.send(Message("a://x/1")) == "1"
        assert subsystem.router.unregister("a://x/{id}") and subsystem.router.match("a://x/1") is None


async def test_messages() -> None:
    system = MessageSystem("main")
    subsystem, alone = BaseSubsystem("a", ms=system), BaseSubsystem("b")
    subsystem.register_route("a://x", lambda body: body)
    await alone.build()
    async with system:
        message = subsystem.messages.create("a://x", 5, {"k": 1})
        assert message.metadata["k"] == 1
        assert await subsystem.messages.send(message) == 5
        with pytest.raises(NotRunning, match="belongs to no system"):
            await alone.messages.send(message)
    await alone.dispose()


async def test_processor_runs_with_the_options_it_is_given() -> None:
    subsystem = BaseSubsystem("a")
    options = Options(caller=Caller("client", "c"))

    async def handler(m, p, o):  # type: ignore[no-untyped-def]
        current = CURRENT.get()
        assert current is not None
        return {"success": True, "data": (o is options, current[2] is options)}

    route = subsystem.register_route("a://x", handler)
    bad = subsystem.register_route("a://bad", lambda m: 1 / 0)
    await subsystem.build()
    value = await subsystem.processor.process(Message("a://x"), options)
    assert value == {"success": True, "data": (True, True)}
    with pytest.raises(NoRoute):
        await subsystem.processor.process(Message("a://y"), options)
    with pytest.raises(ZeroDivisionError):
        await subsystem.processor.process(Message("a://bad"), options)
    assert (route.handled, bad.failed, CURRENT.get()) == (1, 1, None)
    await subsystem.dispose()


async def test_listeners(caplog: pytest.LogCaptureFixture) -> None:
    system = MessageSystem("main")
    subsystem = BaseSubsystem("a", ms=system)
    plain = subsystem.register_route("a://x/y", lambda m, p, o: 1)
    subsystem.register_route("a://bad", lambda m: 1 / 0)
    log: list[Any] = []

    def note(tag: str) -> Any:
        return lambda message, fault: log.append((tag, message.path, type(fault).__name__))

    async with system:
        assert plain.call is plain.handler
        ends = [subsystem.listeners.on(path, note(path)) for path in ("*", "a://x/*", "a://bad")]
        broken = subsystem.listeners.on("a://x/y", lambda message, fault: 1 / 0)
        assert await system.send(Message("a://x/y")) == 1
        assert log == [("*", "a://x/y", "NoneType"), ("a://x/*", "a://x/y", "NoneType")]
        assert "a listener to a://x/y failed" in caplog.text
        log.clear()
        with pytest.raises(HandlerError):
            await system.send(Message("a://bad"))
        assert log == [("*", "a://bad", "ZeroDivisionError"), ("a://bad", "a://bad", "ZeroDivisionError")]
        for end in (*ends, broken, broken):
            end()
        assert plain.call is plain.handler
        with pytest.raises(ConfigError, match="plain function"):
            subsystem.listeners.on("*", system.send)
        with pytest.raises(RouteError):
            subsystem.listeners.on("nonsense", note("x"))


async def test_statistics() -> None:
    system = MessageSystem("main")
    subsystem = BaseSubsystem("a", ms=system, queue={"capacity": 3})
    subsystem.register_route("a://x", lambda m: 1)
    async with system:
        await system.send(Message("a://x"))
        snapshot = subsystem.statistics.snapshot()
        assert (snapshot["handled"], snapshot["failed"]) == (1, 0)
        assert snapshot["routes"] == {"a://x": {"handled": 1, "failed": 0}}
        assert set(snapshot["queue"]) >= {"waiting", "rejected", "dropped"}
