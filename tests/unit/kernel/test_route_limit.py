"""The setting `limit` of a route: whose messages share a bucket, and what it stands behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from mycelia.errors import RateLimited, RouteError, Unauthorized
from mycelia.kernel.messages.context import Caller, Options
from mycelia.kernel.messages.message import Message
from mycelia.kernel.routing.router import Route
from mycelia.kernel.subsystem import BaseSubsystem
from mycelia.kernel.system import MessageSystem
from mycelia.scheduling.rate_limiter import By, RateLimiter

EVER = 3600.0


class Asker(Options):
    """A client, its principal and address, and how often it was refused."""

    def __init__(self, name: str, principal: str | None = None, address: str | None = None) -> None:
        known = SimpleNamespace(id=principal, permissions=())
        super().__init__(
            caller=Caller("client", name),
            connection=SimpleNamespace(client=SimpleNamespace(remote_address=address)),
            connection_id=name,
            principal=None if principal is None else known,
        )
        self.refusals = 0

    def limited(self) -> None:
        self.refusals += 1


async def answers(route: Any, *askers: Options) -> str:
    """One letter for each call: `y` for an answer, `n` for a refusal."""
    found = ""
    for asker in askers:
        try:
            value = route.call(Message("app://x"), {}, asker)
            assert value == 1
            found += "y"
        except RateLimited as error:
            assert 0 < error.retry_after <= EVER and error.details == {
                "retryAfterMs": pytest.approx(EVER * 1000, rel=1)
            }
            found += "n"
    return found


class Stage:
    """A built subsystem whose routes get a limiter."""

    def __init__(self) -> None:
        self.system = MessageSystem("main")
        self.app = BaseSubsystem("app", ms=self.system)

    def __call__(self, limiter: RateLimiter, path: str = "app://x", **settings: Any) -> Route:
        return self.app.register_route(path, lambda m, p, o: 1, limit=limiter, **settings)


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    made = Stage()
    await made.app.build()
    yield made
    await made.system.dispose()


@pytest.mark.parametrize(
    ("by", "expected"),
    [("connection", "yynyn"), ("principal", "yynnn"), ("address", "yynyn"), ("route", "ynnnn")],
)
async def test_whose_messages_share_a_bucket(by: By, expected: str) -> None:
    async with staged() as make:
        route = make(RateLimiter(1, EVER, by=by))
        one = Asker("1", "ada", "192.0.2.1")
        two = Asker("2", "bob", "192.0.2.2")
        three = Asker("3", "ada", "192.0.2.3")
        assert await answers(route, one, two, two, three, three) == expected
        assert one.refusals + two.refusals + three.refusals == expected.count("n")


async def test_who_has_no_principal_is_told_apart_by_connection() -> None:
    async with staged() as make:
        route = make(RateLimiter(1, EVER, by="principal"))
        assert await answers(route, Asker("1"), Asker("1"), Asker("2", ""), Asker("2")) == "ynyn"


async def test_the_program_itself_is_limited_by_route_only() -> None:
    async with staged() as make:
        system = Options(caller=Caller("system", "main"))
        for by in ("connection", "principal", "address"):
            assert await answers(make(RateLimiter(1, EVER, by=by), f"app://{by}"), system, system) == "yy"
        make(RateLimiter(1, EVER, by="route"), "app://all")
        assert await make.system.send(Message("app://all")) == 1
        with pytest.raises(RateLimited):
            await make.system.send(Message("app://all"))


async def test_one_limiter_is_one_budget() -> None:
    async with staged() as make:
        shared = RateLimiter(2, EVER)
        first, second = make(shared, "app://a"), make(shared, "app://b")
        assert await answers(first, Asker("1")) + await answers(second, Asker("1"), Asker("1")) == "yyn"


async def test_who_may_not_call_uses_nothing_up() -> None:
    async with staged() as make:
        limiter = RateLimiter(1, EVER, by="route")
        route = make(limiter, requires={"write"})
        with pytest.raises(Unauthorized):
            route.call(Message("app://x"), {}, Asker("1"))
        assert len(limiter) == 0


async def test_only_a_limiter_is_one() -> None:
    async with staged() as make:
        with pytest.raises(RouteError, match="expected limit=RateLimiter"):
            make(100)  # type: ignore[arg-type]  # which is what is tested
