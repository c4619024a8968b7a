from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mycelia.errors import BuildError, ConfigError, NoRoute, NoSuchSubsystem, RouteError
from mycelia.kernel.building.hook import Api, Context, hook
from mycelia.kernel.facet import Facet
from mycelia.kernel.lifecycle import NEXT, State
from mycelia.kernel.messages.message import Message
from mycelia.kernel.subsystem import BaseSubsystem
from mycelia.kernel.system import MessageSystem
from tests.unit.kernel.support import answer


@pytest.mark.parametrize("name", ["", "1a", "a b", "a/b", 5])
def test_names(name: Any) -> None:
    with pytest.raises(ConfigError):
        BaseSubsystem(name)


def test_options_as_a_mapping() -> None:
    system = MessageSystem("main")
    users = BaseSubsystem("user", {"ms": system, "config": {"k": 1}})
    assert users.ms is system and users.config == {"k": 1} and system.find("user") is users
    with pytest.raises(ConfigError, match="known: ms, config"):
        BaseSubsystem("other", {"sm": system})


def test_the_states_are_all_there() -> None:
    assert {state for pair in NEXT for state in (pair[0], NEXT[pair])} == set(State)


def test_a_path_must_be_the_subsystems_own() -> None:
    with pytest.raises(RouteError, match="expected a path below user://"):
        BaseSubsystem("user").register_route("users://get", answer)


async def test_routes_before_and_after_build_and_through_a_decorator() -> None:
    system = MessageSystem("main")
    users = BaseSubsystem("user", ms=system)

    @users.route("user://a/{id}", expose=True, requires={"r"}, concurrent=True, isolated=True, timeout=5)
    def get(id: int) -> int:
        return id

    route = next(users.routes)
    assert route.expose and route.concurrent and route.isolated and route.timeout == 5
    assert route.requires == {"r"} and route.subsystem == "user" and get(3) == 3
    with pytest.raises(NoSuchSubsystem):
        await system.send(Message("user://a/1"))
    await users.build()
    assert await system.send(Message("user://a/1")) == 1
    users.register_route("user://b", lambda: "b")
    assert await system.send(Message("user://b")) == "b"
    assert users.unregister_route("user://b") and not users.unregister_route("user://b")
    with pytest.raises(NoRoute):
        await system.send(Message("user://b"))
    await users.dispose()
    assert system.exact == {}
    with pytest.raises(NoSuchSubsystem):
        await system.send(Message("user://a/1"))
    await users.build()
    assert await system.send(Message("user://a/1")) == 1
    await users.dispose()


async def test_registering_twice_raises_and_replace_replaces() -> None:
    system = MessageSystem("main")
    users = BaseSubsystem("user", ms=system)
    users.register_route("user://a", lambda: 1)
    await users.build()
    with pytest.raises(RouteError, match="replace=True"):
        users.register_route("user://a", lambda: 2)
    assert await system.send(Message("user://a")) == 1
    users.register_route("user://a", lambda: 2, replace=True)
    assert await system.send(Message("user://a")) == 2
    await users.dispose()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_the_applications_own_handler_wins_over_a_default(when: str) -> None:
    @hook(kind="builtin")
    def use_builtin(ctx: Context, api: Api, subsystem: Any) -> Facet:
        api.register_route("user://a", lambda: "default", default=True)
        return Facet()

    system = MessageSystem("main")
    users = BaseSubsystem("user", ms=system).use(use_builtin)
    if when == "before":
        users.register_route("user://a", lambda: "own")
    await users.build()
    if when == "after":
        assert await system.send(Message("user://a")) == "default"
        users.register_route("user://a", lambda: "own")
    for _ in range(2):
        assert await system.send(Message("user://a")) == "own"
        await users.dispose()
        await users.build()
    await users.dispose()
    assert [route.path for route in users.routes] == ["user://a"]


async def test_callbacks_with_and_without_the_subsystem() -> None:
    log: list[object] = []
    users = BaseSubsystem("user")

    async def with_subsystem(subsystem: BaseSubsystem) -> None:
        log.append(subsystem)

    users.on_init(with_subsystem)
    users.on_init(lambda: log.append("init"))
    users.on_dispose(lambda: log.append("first"))
    users.on_dispose(lambda: log.append("second"))
    await users.build()
    await users.dispose()
    assert log == [users, "init", "second", "first"]


async def test_a_failing_on_init_rolls_back() -> None:
    users = BaseSubsystem("user")
    users.on_init(lambda: 1 / 0)
    with pytest.raises(BuildError, match="on_init") as caught:
        await users.build()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert users.find("router") is None and users.state is State.NEW


async def test_a_failing_on_dispose_does_not_keep_the_rest() -> None:
    users = BaseSubsystem("user")
    users.on_dispose(lambda: 1 / 0)
    await users.build()
    with pytest.raises(ExceptionGroup):
        await users.dispose()
    assert users.find("router") is None and users.state is State.DISPOSED


async def test_two_builds_at_once_build_once() -> None:
    made: list[int] = []

    @hook(kind="x")
    def use_x(ctx: Context, api: Api, subsystem: Any) -> Facet:
        made.append(1)
        return Facet()

    users = BaseSubsystem("user").use(use_x)
    await asyncio.gather(users.build(), users.build())
    assert made == [1]
    await asyncio.gather(users.dispose(), users.dispose())


async def test_use_is_for_before_build_and_for_hooks() -> None:
    users = BaseSubsystem("user")
    with pytest.raises(ConfigError, match="@hook"):
        users.use(lambda: None)  # type: ignore[arg-type]  # the point of the test
    await users.build()
    with pytest.raises(BuildError, match="after build"):
        users.use(hook(kind="x")(lambda ctx, api, subsystem: Facet()))
    await users.dispose()


def test_a_missing_facet_is_named() -> None:
    users = BaseSubsystem("user")
    with pytest.raises(AttributeError, match="no attached facet 'websocket'"):
        _ = users.websocket
    assert repr(users) == "BaseSubsystem('user', new)"


async def test_children_are_built_after_and_disposed_before_their_parent() -> None:
    system = MessageSystem("main")
    log: list[str] = []
    top = BaseSubsystem("top", ms=system)
    middle = BaseSubsystem("middle", parent=top)
    leaf = BaseSubsystem("leaf")
    other = BaseSubsystem("other", parent=top)
    middle.add_child(leaf)
    for each in (top, middle, leaf, other):
        each.register_route(f"{each.name}://x", lambda: 1)
        each.on_init(lambda subsystem: log.append(f"+{subsystem.name}"))
        each.on_dispose(lambda subsystem: log.append(f"-{subsystem.name}"))
    assert [each.name for each in top.walk()] == ["top", "middle", "leaf", "other"]
    assert leaf.root is top and leaf.parent is middle and leaf.ms is system
    async with system:
        assert await system.send(Message("leaf://x")) == 1
        assert top.hierarchy.find("leaf") is leaf and top.hierarchy.children == (middle, other)
        assert leaf.hierarchy.root is top and leaf.hierarchy.parent is middle
        assert list(top.hierarchy.walk()) == list(top.walk())
    assert log == ["+leaf", "+middle", "+other", "+top", "-top", "-other", "-middle", "-leaf"]


async def test_a_failing_child_fails_its_parent() -> None:
    top = BaseSubsystem("top")
    good, bad = BaseSubsystem("good", parent=top), BaseSubsystem("bad", parent=top)
    bad.on_init(lambda: 1 / 0)
    with pytest.raises(BuildError, match="'bad'"):
        await top.build()
    assert (good.state, bad.state, top.state) == (State.DISPOSED, State.NEW, State.NEW)


def test_trees_have_no_cycles_and_one_system() -> None:
    top = BaseSubsystem("top")
    child = BaseSubsystem("child", parent=top)
    for parent, wrong in ((child, top), (top, child), (top, top)):
        with pytest.raises(ConfigError, match="already has its place"):
            parent.add_child(wrong)
    here = BaseSubsystem("here", ms=MessageSystem("one"))
    with pytest.raises(ConfigError, match="different systems"):
        here.add_child(BaseSubsystem("there", ms=MessageSystem("two")))


async def test_middleware_of_a_subsystem_now_and_later() -> None:
    system = MessageSystem("main")

    def tag(text: str) -> Any:
        async def middleware(message: Any, options: Any, call_next: Any) -> Any:
            return f"{text}({await call_next()})"

        return middleware

    users = BaseSubsystem("user", ms=system, middleware=[tag("a")])
    users.register_route("user://x", lambda: "x")
    async with system:
        assert await system.send(Message("user://x")) == "a(x)"
        users.use_middleware(tag("b"))
        system.use(tag("s"))
        assert await system.send(Message("user://x")) == "s(a(b(x)))"
        users.register_route("user://y", lambda: "y")
        assert await system.send(Message("user://y")) == "s(a(b(y)))"
