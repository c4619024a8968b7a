from __future__ import annotations

import asyncio
import inspect
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest

from mycelia.errors import (
    BuildError,
    ConfigError,
    Forbidden,
    HandlerError,
    InvalidPath,
    MyceliaError,
    NoRoute,
    NoSuchSubsystem,
    Overloaded,
    RequestTimeout,
    Unauthorized,
)
from mycelia.kernel.messages.context import Caller, Options
from mycelia.kernel.messages.current import CURRENT
from mycelia.kernel.messages.message import Message, Metadata
from mycelia.kernel.subsystem import BaseSubsystem
from mycelia.kernel.system import MessageSystem
from tests.unit.kernel.support import User

CLIENT = Caller("client", "c1")


def system_of(**handlers: Any) -> MessageSystem:
    """A system with one subsystem `a` whose paths are the names given."""
    system = MessageSystem("main")
    subsystem = BaseSubsystem("a", ms=system)
    for name, handler in handlers.items():
        subsystem.register_route(f"a://{name}", handler)
    return system


async def raising(fault: BaseException) -> Any:
    raise fault


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5),
        (None, None),
        ({"x": 1}, {"x": 1}),
        ({"success": True, "data": []}, []),
        ({"success": True}, None),
    ],
)
async def test_send_returns_the_unwrapped_value(value: Any, expected: Any) -> None:
    async with system_of(x=lambda m: value, y=lambda m: asyncio.sleep(0, value)) as system:
        assert await system.send(Message("a://x")) == expected
        assert await system.send(Message("a://y")) == expected
        assert system.statistics()["a"]["handled"] == 2


async def test_every_error_path() -> None:
    refused = {"code": "TAKEN", "message": "taken", "details": {"by": 1}, "retryable": True}
    handlers = {
        "text": lambda m: {"success": False, "error": "Unauthorized"},
        "full": lambda m: {"success": False, "error": refused},
        "raises": lambda m: raising(ValueError("secret")),
        "raises_plainly": lambda m: 1 / 0,
        "ours": lambda m: raising(Overloaded("x")),
        "cancels": lambda m: raising(asyncio.CancelledError()),
    }
    async with system_of(**handlers) as system:
        with pytest.raises(HandlerError) as text:
            await system.send(Message("a://text"))
        assert (text.value.code, text.value.message, text.value.path) == (
            "HANDLER_ERROR",
            "Unauthorized",
            "a://text",
        )
        with pytest.raises(HandlerError) as full:
            await system.send(Message("a://full"))
        assert (full.value.code, full.value.details, full.value.retryable) == ("TAKEN", {"by": 1}, True)
        for path, cause in (("raises", ValueError), ("raises_plainly", ZeroDivisionError)):
            with pytest.raises(HandlerError) as caught:
                await system.send(Message(f"a://{path}"))
            assert isinstance(caught.value.__cause__, cause) and "secret" not in str(caught.value)
        with pytest.raises(Overloaded):
            await system.send(Message("a://ours"))
        with pytest.raises(HandlerError, match="cancelled"):
            await system.send(Message("a://cancels"))
        assert system.statistics()["a"]["failed"] == 6
        assert CURRENT.get() is None


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("a://none", NoRoute),
        ("b://x", NoSuchSubsystem),
        ("unbuilt://x", NoSuchSubsystem),
        ("a", InvalidPath),
        ("a://x/", InvalidPath),
        ("a://../x", InvalidPath),
        ("", InvalidPath),
    ],
)
async def test_paths_that_lead_nowhere(path: str, fault: type[MyceliaError]) -> None:
    system = system_of(x=lambda m: 1)
    async with system:
        BaseSubsystem("unbuilt", ms=system).register_route("unbuilt://x", lambda m: 1)
        with pytest.raises(fault):
            await system.send(Message(path))
        with pytest.raises(fault):
            system.resolve(path)


async def test_resolve_gives_route_and_parameters() -> None:
    system = system_of(**{"x": lambda m: 1, "get/{id}": lambda id: id})
    async with system:
        route, params = system.resolve("a://get/5")
        assert (route.path, dict(params)) == ("a://get/{id}", {"id": "5"})
        route, params = system.resolve("a://x")
        assert system.exact["a://x"] is route and dict(params) == {}


async def test_timeout_of_a_send() -> None:
    async with system_of(x=lambda m: asyncio.Event().wait()) as system:
        with pytest.raises(RequestTimeout):
            await system.send(Message("a://x"), timeout=0.01)


async def test_cancelling_a_send_cancels_the_handler() -> None:
    begun = asyncio.Event()
    ended: list[str] = []

    async def handler(m, p, o):  # type: ignore[no-untyped-def]
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("handler")

    async with system_of(x=handler) as system:
        task = asyncio.create_task(system.send(Message("a://x")))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == ["handler"]


async def test_an_isolated_handler_leaves_nothing_in_the_senders_context() -> None:
    variable: ContextVar[int] = ContextVar("variable", default=0)
    tasks: list[Any] = []

    async def handler() -> None:
        variable.set(1)
        tasks.append(asyncio.current_task())

    system = MessageSystem("main")
    subsystem = BaseSubsystem("a", ms=system)
    subsystem.register_route("a://shared", handler)
    subsystem.register_route("a://isolated", handler, isolated=True)
    async with system:
        await system.send(Message("a://isolated"))
        assert variable.get() == 0 and tasks[0] is not asyncio.current_task()
        await system.send(Message("a://shared"))
        assert variable.get() == 1 and tasks[1] is asyncio.current_task()


# Callers


def tell(message: Message, params: Any, options: Options) -> Any:
    seen = message.metadata
    return SimpleNamespace(options=options, metadata=seen, message=message)


async def by_client(system: MessageSystem, path: str, principal: Any = None) -> Any:
    """What a transport does: it knows the caller, and runs the route itself."""
    options = Options(caller=CLIENT, connection=object(), connection_id="c1", principal=principal)
    message = Message(path, None, {"trace_id": "from-client"})
    route, params = system.resolve(path)
    token = CURRENT.set((route, message, options))
    try:
        value = route.call(message, params, options)
        return await value if inspect.isawaitable(value) else value
    finally:
        CURRENT.reset(token)


async def test_the_system_is_the_caller_outside_of_handlers() -> None:
    async with system_of(tell=tell) as system:
        sent = Message("a://tell", None, {"x": 1})
        seen = await system.send(sent)
        assert seen.options.caller == seen.metadata.caller == Caller("system", "main")
        assert seen.metadata.principal is None and seen.metadata["x"] == 1
        assert seen.message.id == sent.id and seen.metadata.trace_id == sent.metadata.trace_id
        assert sent.metadata.caller is None


async def test_a_send_inside_a_handler_keeps_principal_and_trace_and_names_the_subsystem() -> None:
    system = system_of(tell=tell)
    outer = BaseSubsystem("outer", ms=system)
    outer.register_route("outer://x", lambda m: system.send(Message("a://tell")))
    outer.register_route("outer://deep", lambda m: system.send(Message("outer://x")))
    user = User("r")
    async with system:
        for path in ("outer://x", "outer://deep"):
            seen = await by_client(system, path, user)
            assert seen.options.caller == seen.metadata.caller == Caller("subsystem", "outer")
            assert seen.options.principal is seen.metadata.principal is user
            assert seen.options.origin == CLIENT and seen.options.connection is None
            assert seen.metadata.trace_id == "from-client" and seen.metadata.connection_id is None
        assert CURRENT.get() is None


@pytest.mark.parametrize(
    ("principal", "as_system", "refusal"),
    [
        (User("w"), False, None),
        (User("r"), False, Forbidden),
        (None, False, Unauthorized),
        (None, True, None),
        (User("r"), True, None),
    ],
)
async def test_nobody_acts_through_the_rights_of_a_subsystem(
    principal: Any, as_system: bool, refusal: type[Exception] | None
) -> None:
    system = MessageSystem("main")
    vault, front = BaseSubsystem("vault", ms=system), BaseSubsystem("front", ms=system)
    vault.register_route("vault://open", tell, requires={"w"})

    @front.route("front://x")
    async def handler() -> Any:
        # by way of a task, and of another subsystem: neither launders the caller
        return await asyncio.create_task(system.send(Message("vault://open"), as_system=as_system))

    async with system:
        if refusal is None:
            seen = await by_client(system, "front://x", principal)
            assert seen.options.principal is (None if as_system else principal)
            assert seen.options.caller == Caller("system" if as_system else "subsystem", "front")
        else:
            with pytest.raises(refusal):
                await by_client(system, "front://x", principal)
        assert (await system.send(Message("vault://open"))).options.caller.kind == "system"


async def test_metadata_of_another_message_gives_nobody_its_rights() -> None:
    async with system_of(tell=tell) as system:
        forged = Metadata(caller=CLIENT, principal=User("w"), connection_id="c9", trace_id="t")
        seen = await system.send(Message("a://tell", None, forged))
        assert seen.metadata.principal is None and seen.metadata.connection_id is None
        assert seen.metadata.caller.kind == "system" and seen.metadata.trace_id == "t"


# Members and life


def test_names_are_unique_and_systems_separate() -> None:
    one, two = MessageSystem("one"), MessageSystem("two")
    users = BaseSubsystem("user", ms=one)
    one.enrol(users)
    with pytest.raises(BuildError, match="already has"):
        BaseSubsystem("user", ms=one)
    with pytest.raises(BuildError, match="another system, 'one'"):
        two.enrol(users)
    with pytest.raises(ConfigError):
        MessageSystem("1")
    assert dict(one.subsystems) == {"user": users} and one.find("x") is None
    assert repr(one) == "MessageSystem('one', subsystems=['user'])"


async def test_register_and_unregister() -> None:
    system = MessageSystem("main")
    users = BaseSubsystem("user")
    child = BaseSubsystem("child", parent=users)
    users.register_route("user://x", lambda: 1)
    child.register_route("child://x", lambda: 2)
    await users.build()
    system.register(users)
    assert [await system.send(Message(f"{name}://x")) for name in ("user", "child")] == [1, 2]
    assert system.unregister("user") is users
    assert users.ms is None and dict(system.subsystems) == {} and system.exact == {}
    for name in ("user", "child"):
        with pytest.raises(NoSuchSubsystem):
            await system.send(Message(f"{name}://x"))
    with pytest.raises(NoSuchSubsystem):
        system.unregister("user")
    await users.dispose()


class Recorded(BaseSubsystem):
    log: list[str]
    fails = ""

    def note(self, moment: str) -> None:
        self.log.append(f"{moment} {self.name}")
        if self.fails == moment:
            raise RuntimeError(moment)

    async def build(self) -> None:
        self.note("build")
        await super().build()

    async def start(self) -> None:
        self.note("start")

    async def stop(self) -> None:
        self.note("stop")

    async def dispose(self) -> None:
        self.note("dispose")
        await super().dispose()


def recorded(system: MessageSystem, *names: str) -> list[str]:
    log: list[str] = []
    for name in names:
        Recorded(name, ms=system).log = log
    return log


async def test_the_context_manager_builds_starts_stops_and_disposes_in_order() -> None:
    system = MessageSystem("main")
    log = recorded(system, "a", "b")
    for _ in range(2):
        async with system as entered:
            assert entered is system
        await system.dispose()
        assert log[:8] == [
            *("build a", "build b", "start a", "start b"),
            *("stop b", "stop a", "dispose b", "dispose a"),
        ]
        log.clear()


@pytest.mark.parametrize("moment", ["build", "start"])
async def test_a_failed_entry_leaves_nothing_behind(moment: str) -> None:
    system = MessageSystem("main")
    log = recorded(system, "a", "b")
    broken = system.subsystems["b"]
    assert isinstance(broken, Recorded)
    broken.fails = moment
    with pytest.raises(RuntimeError, match=moment):
        async with system:
            pytest.fail("must not be entered")
    assert [each.state.value for each in system.subsystems.values()] != ["built", "built"]
    assert "dispose a" in log and ("stop a" in log) is (moment == "start")
    broken.fails = ""
    async with system:
        pass


async def test_dispose_goes_on_and_tells() -> None:
    system = MessageSystem("main")
    log = recorded(system, "a", "b")
    broken = system.subsystems["b"]
    assert isinstance(broken, Recorded)
    broken.fails = "stop"
    with pytest.raises(ExceptionGroup) as caught:
        async with system:
            pass
    assert [str(each) for each in caught.value.exceptions] == ["stop"]
    assert log[-4:] == ["stop b", "stop a", "dispose b", "dispose a"]


async def test_the_seeds_order_of_calls_works() -> None:
    system = MessageSystem("main")
    await system.bootstrap()
    await system.bootstrap()
    users = BaseSubsystem("user", {"ms": system})
    users.register_route("user://x", lambda: 1)
    await users.build()
    assert await system.send(Message("user://x")) == 1
    await system.dispose()
    await system.dispose()
    with pytest.raises(NoSuchSubsystem):
        await system.send(Message("user://x"))


async def test_health() -> None:
    system = system_of(x=lambda m: 1)
    assert await system.health() == {
        "healthy": False,
        "subsystems": {"a": {"healthy": False, "state": "new"}},
    }
    async with system:
        assert (await system.health())["healthy"]
        health = system.subsystems["a"].find("health")
        health.add("good", lambda: True)
        health.add("bad", lambda: raising(RuntimeError("down")))
        report = await system.health()
        assert report["subsystems"]["a"] == {"healthy": False, "checks": {"good": True, "bad": False}}
        health.remove("bad")
        assert (await system.health())["healthy"]
