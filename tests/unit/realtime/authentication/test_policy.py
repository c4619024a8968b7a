"""The policy: whom it is asked for, what it remembers, and that it fails closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any

import pytest

from mycelia.errors import Forbidden, Unauthorized
from mycelia.kernel.routing.handler import compile_plan
from mycelia.kernel.routing.path import Pattern
from mycelia.kernel.routing.router import Route
from mycelia.realtime.authentication.policy import REMEMBERED, Decision, Policy


class Peer:
    """What a policy sees of a connection."""


def route(path: str = "app://x/{id}", expose: bool = True) -> Route:
    def handler(message: Any, params: Any, options: Any) -> str:
        return "done"

    pattern = Pattern.parse(path)
    return Route(pattern, handler, compile_plan(handler, pattern), expose=expose)


def options(peer: Peer, kind: str = "client", **principal: Any) -> Any:
    who = SimpleNamespace(**{"permissions": (), **principal}) if principal else None
    return SimpleNamespace(caller=SimpleNamespace(kind=kind), connection=peer, principal=who)


def message(path: str = "app://x/1") -> Any:
    return SimpleNamespace(path=path)


class Asked:
    """A policy that answers as it is told, and counts."""

    def __init__(self, answer: Any, later: bool = False) -> None:
        self.answer, self.later, self.count = answer, later, 0

    def __call__(self, message: Any, principal: Any, route: Any) -> Any:
        self.count += 1
        return self.eventually() if self.later else self.said()

    async def eventually(self) -> Any:
        return self.said()

    def said(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def call(policy: Policy, path: str, given: Any, on: Route | None = None) -> Any:
    on = on or route()
    value = policy.guard(on, on.plan.call)(message(path), {}, given)
    return await value if isinstance(value, Awaitable) else value


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (True, None),
        (Decision(True), None),
        (False, Forbidden),
        (Decision(False), Forbidden),
        (None, Forbidden),
        (1, Forbidden),
        ("yes", Forbidden),
        (Decision("yes"), Forbidden),  # type: ignore[arg-type]  # as an untyped program may
        (RuntimeError("broken"), Forbidden),
        (Unauthorized("sign in"), Unauthorized),
    ],
    ids=str,
)
async def test_only_a_plain_yes_lets_pass(answer: Any, fault: type[Exception] | None, later: bool) -> None:
    policy = Policy(Asked(answer, later), "websocket", "websocket://message")
    if fault is None:
        assert await call(policy, "app://x/1", options(Peer(), id="ada")) == "done"
    else:
        with pytest.raises(fault):
            await call(policy, "app://x/1", options(Peer(), id="ada"))


async def test_a_principal_that_cannot_be_read_refuses() -> None:
    policy = Policy(Asked(True), "websocket", "websocket://message")
    with pytest.raises(Forbidden):
        await call(policy, "app://x/1", options(Peer(), name="no id"))


async def test_an_unknown_client_is_told_to_sign_in() -> None:
    with pytest.raises(Unauthorized):
        await call(Policy(Asked(False), "websocket", "websocket://message"), "app://x/1", options(Peer()))


@pytest.mark.parametrize("later", [False, True])
async def test_what_is_remembered_and_until_when(later: bool) -> None:
    asked = Asked(Decision(True, cache=True), later)
    policy = Policy(asked, "websocket", "websocket://message")
    peer, other = Peer(), Peer()
    for _ in range(3):
        await call(policy, "app://x/1", options(peer, id="ada"))
    assert asked.count == 1
    await call(policy, "app://x/2", options(peer, id="ada"))
    await call(policy, "app://x/1", options(other, id="ada"))
    assert asked.count == 3
    await call(policy, "app://x/1", options(peer, id="bob"))
    await call(policy, "app://x/1", options(peer, id="bob", permissions=["root"]))
    await call(policy, "app://x/1", options(peer))
    assert asked.count == 6  # another principal, other permissions, nobody
    policy.forget(peer)  # type: ignore[arg-type]  # all it needs of a connection
    await call(policy, "app://x/1", options(peer))
    assert asked.count == 7


async def test_memory_is_bounded() -> None:
    asked = Asked(Decision(True, cache=True))
    policy, peer = Policy(asked, "websocket", "websocket://message"), Peer()
    for number in range(REMEMBERED + 1):
        await call(policy, f"app://x/{number}", options(peer))
    await call(policy, f"app://x/{REMEMBERED}", options(peer))
    assert asked.count == REMEMBERED + 1
    await call(policy, "app://x/0", options(peer))
    assert asked.count == REMEMBERED + 2  # the oldest went


async def test_others_than_clients_are_not_asked() -> None:
    asked = Asked(False)
    policy = Policy(asked, "websocket", "websocket://message")
    for kind in ("subsystem", "system"):
        assert await call(policy, "app://x/1", options(Peer(), kind)) == "done"
    assert asked.count == 0


def test_the_subsystem_s_own_events_have_no_guard() -> None:
    policy = Policy(Asked(False), "websocket", "websocket://message")
    for path, guarded in [("websocket://connect", False), ("websocket://message", True), ("app://x", True)]:
        each = route(path, expose=False)
        assert (policy.guard(each, each.plan.call) is not each.plan.call) is guarded
    each = route("websocket://mine", expose=True)
    assert policy.guard(each, each.plan.call) is not each.plan.call


@pytest.mark.parametrize("how", ["renewed", "other permissions", "other permissions, and required ones"])
async def test_rights_that_change_while_the_policy_thinks_are_asked_about_again(how: str) -> None:
    peer, going = Peer(), asyncio.Event()
    thinking = asyncio.Event()
    asked: list[set[str]] = []

    async def ask(message: Any, principal: Any, route: Any) -> Decision:
        asked.append(set(principal.permissions))
        thinking.set()
        await going.wait()
        return Decision("write" in asked[-1], cache=True)

    policy, given = Policy(ask, "websocket", "websocket://message"), options(peer, id="ada", permissions={"write"})
    on = route()
    if how.endswith("required ones"):
        on.requires = frozenset({"write"})
    under_way = asyncio.create_task(call(policy, "app://x/1", given, on))
    await thinking.wait()
    if how == "renewed":
        policy.forget(peer)  # type: ignore[arg-type]  # a peer is all that it sees of a connection
    else:
        given.principal.permissions = ()
    going.set()
    if how == "renewed":
        assert await under_way == "done" and len(asked) == 2
    else:
        with pytest.raises(Forbidden):
            await under_way
        assert len(asked) == (1 if on.requires else 2)
