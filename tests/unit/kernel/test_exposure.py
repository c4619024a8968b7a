"""Who may call a route from outside: the setting, its check, guards, and routes that nothing is put around."""

from __future__ import annotations

from typing import Any

import pytest

from mycelia import BaseSubsystem, Message, MessageSystem, RouteError, Unauthorized
from mycelia.errors import Forbidden
from mycelia.kernel.messages.context import Caller, Options
from mycelia.kernel.routing.router import Route


class Somebody:
    def __init__(self, id: str) -> None:
        self.id, self.permissions = id, ()


class Broken:
    permissions = ()

    @property
    def id(self) -> str:
        raise RuntimeError("the store is away")


def client(principal: Any = None) -> Options:
    return Options(caller=Caller("client", "c1"), principal=principal)


def register(expose: Any, **settings: Any) -> Route:
    return BaseSubsystem("app").register_route("app://x", lambda: "done", expose=expose, **settings)


@pytest.mark.parametrize(
    ("expose", "exposed", "authenticated"),
    [(False, False, False), (True, True, False), ("public", True, False), ("authenticated", True, True)],
)
def test_classes_of_exposure(expose: Any, exposed: bool, authenticated: bool) -> None:
    route = register(expose)
    assert (route.expose, route.direct, route.authenticated) == (exposed, exposed, authenticated)


@pytest.mark.parametrize("expose", ["", "private", "Authenticated", "yes", None, 1, 0, ["public"]])
def test_anything_else_is_refused(expose: Any) -> None:
    with pytest.raises(RouteError):
        register(expose)


@pytest.mark.parametrize("safe", ["yes", 1, 0])
def test_safe_is_true_or_false(safe: Any) -> None:
    with pytest.raises(RouteError):
        register(True, safe=safe)


async def test_authenticated_asks_clients_for_a_name_and_nobody_else() -> None:
    system = MessageSystem("main")
    app = BaseSubsystem("app", ms=system)
    route = app.register_route("app://x", lambda: "done", expose="authenticated")
    await app.build()
    for principal in (None, Somebody("")):
        with pytest.raises(Unauthorized):
            route.call(Message("app://x"), {}, client(principal))
    with pytest.raises(Forbidden):
        route.call(Message("app://x"), {}, client(Broken()))
    assert route.call(Message("app://x"), {}, client(Somebody("ada"))) == "done"
    assert await system.send(Message("app://x")) == "done"
    await app.dispose()


async def test_guards_come_and_go_and_stand_inside_the_permission_check() -> None:
    system = MessageSystem("main")
    app = BaseSubsystem("app", ms=system)
    app.register_route("app://x", lambda: "done")
    route = app.register_route("app://y", lambda: "done", requires={"root"})
    asked: list[str] = []

    def guard(route: Route, call: Any) -> Any:
        def guarded(message: Any, params: Any, options: Any) -> Any:
            asked.append(message.path)
            return call(message, params, options)

        return guarded

    await app.build()
    before = route.call
    system.guard(guard)
    assert await system.send(Message("app://x")) == "done"
    with pytest.raises(Unauthorized):
        route.call(Message("app://y"), {}, client())
    assert asked == ["app://x"]
    system.unguard(guard)
    system.unguard(guard)
    assert await system.send(Message("app://x")) == "done"
    assert asked == ["app://x"] and type(route.call) is type(before)
    await app.dispose()


async def test_nothing_is_put_around_a_sealed_route() -> None:
    seen: list[str] = []

    async def watch(message: Any, options: Any, call_next: Any) -> Any:
        seen.append(message.path)
        return await call_next()

    system = MessageSystem("main", middleware=[watch])
    app = BaseSubsystem("app", ms=system)
    route = app.register_route("app://x", lambda: "done")
    route.sealed = True
    await app.build()
    assert route.call is route.plan.call
    assert await system.send(Message("app://x")) == "done"
    assert seen == []
    await app.dispose()
