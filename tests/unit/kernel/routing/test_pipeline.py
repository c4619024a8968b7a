from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mycelia.errors import Forbidden, RequestTimeout, Unauthorized
from mycelia.kernel.messages.context import Caller, Options
from mycelia.kernel.messages.message import Message
from mycelia.kernel.routing.pipeline import Middleware, check_requires, compose, within
from tests.unit.kernel.support import User, route_to

SYSTEM, SUBSYSTEM, CLIENT = Caller("system", "m"), Caller("subsystem", "s"), Caller("client", "c")


class Unreadable:
    id = "u"

    @property
    def permissions(self) -> set[str]:
        raise RuntimeError("the store is down")


class Holding:
    id = "u"

    def __init__(self, permissions: Any) -> None:
        self.permissions = permissions


@pytest.mark.parametrize(
    ("caller", "origin", "principal", "refusal"),
    [
        (SYSTEM, None, None, None),
        (SUBSYSTEM, SYSTEM, None, None),
        (CLIENT, None, None, Unauthorized),
        (SUBSYSTEM, CLIENT, None, Unauthorized),
        (Caller("robot", "r"), None, None, Unauthorized),  # type: ignore[arg-type]  # an unknown kind
        (CLIENT, None, User("w", "r"), None),
        (SUBSYSTEM, CLIENT, User("w"), None),
        (CLIENT, None, User("r"), Forbidden),
        (CLIENT, None, User(), Forbidden),
        (SYSTEM, None, User("r"), Forbidden),
        (SUBSYSTEM, SYSTEM, User("r"), Forbidden),
        (CLIENT, None, Holding(["r", "w"]), None),
        (CLIENT, None, Holding("write"), Forbidden),
        (CLIENT, None, Holding({"w": False}), Forbidden),
        (CLIENT, None, Holding(None), Forbidden),
        (CLIENT, None, Holding([["w"]]), Forbidden),
        (CLIENT, None, object(), Forbidden),
        (CLIENT, None, Unreadable(), Forbidden),
        (None, None, None, Forbidden),
    ],
)
def test_requires(caller: Any, origin: Any, principal: Any, refusal: type[Exception] | None) -> None:
    ran: list[int] = []
    route = route_to("a://x", lambda m: ran.append(1), requires={"w"})
    compose(route, (), ())
    options = Options(caller=caller, origin=origin, principal=principal)
    if refusal is None:
        route.call(Message("a://x"), {}, options)
        assert ran == [1]
    else:
        with pytest.raises(refusal):
            route.call(Message("a://x"), {}, options)
        assert ran == []


def test_the_check_refuses_when_it_cannot_be_made() -> None:
    with pytest.raises(Forbidden, match="cannot be read"):
        check_requires(route_to("a://x", requires={"w"}), None)  # type: ignore[arg-type]  # the point


def tagged(tag: str, log: list[str]) -> Middleware:
    async def middleware(message: Any, options: Any, call_next: Callable[..., Any]) -> Any:
        log.append(f"{tag} in")
        try:
            return f"{tag}({await call_next(message, options)})"
        finally:
            log.append(f"{tag} out")

    return middleware


async def test_middleware_is_asked_in_order_and_the_check_comes_first() -> None:
    log: list[str] = []
    route = route_to("a://x/{id}", lambda id: id, requires={"w"})
    compose(route, (), [tagged("a", log), tagged("b", log)])
    assert route.is_async
    options = Options(caller=SYSTEM)
    assert await route.call(Message("a://x/1"), {"id": "1"}, options) == "a(b(1))"
    assert log == ["a in", "b in", "b out", "a out"]
    log.clear()
    with pytest.raises(Unauthorized):
        route.call(Message("a://x/1"), {"id": "1"}, Options(caller=CLIENT))
    assert log == []


async def test_middleware_may_answer_itself_change_the_message_or_go_on_as_it_is() -> None:
    async def instead(message: Any, options: Any, call_next: Any) -> Any:
        return "instead"

    async def changed(message: Any, options: Any, call_next: Any) -> Any:
        return await call_next(message.with_body("changed"))

    async def plain(message: Any, options: Any, call_next: Any) -> Any:
        return await call_next()

    async def handler(body: Any) -> Any:
        return body

    for middleware, expected in ((instead, "instead"), (changed, "changed"), (plain, "given")):
        route = route_to("a://x", handler)
        compose(route, (), [middleware])
        assert await route.call(Message("a://x", "given"), {}, Options(caller=SYSTEM)) == expected


def test_nothing_is_put_around_a_plain_route() -> None:
    route = route_to("a://x")
    compose(route, [lambda route, call: call], ())
    assert route.call is route.handler and not route.is_async


async def test_timeout_of_a_route() -> None:
    cancelled: list[bool] = []

    async def handler(m, p, o):  # type: ignore[no-untyped-def]
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    route = route_to("a://x", handler, timeout=0.01)
    compose(route, (), ())
    with pytest.raises(RequestTimeout) as caught:
        await route.call(Message("a://x"), {}, Options(caller=SYSTEM))
    assert (caught.value.what, caught.value.seconds, cancelled) == ("a://x", 0.01, [True])


async def test_within_tells_its_own_timeout_from_others() -> None:
    async def raises() -> None:
        raise TimeoutError("theirs")

    with pytest.raises(TimeoutError, match="theirs"):
        await within(5, raises(), "x")
    assert await within(None, asyncio.sleep(0, 3), "x") == 3
