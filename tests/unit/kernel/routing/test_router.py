from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.errors import InvalidPath, RouteError
from mycelia.kernel.routing.router import Route, Router
from tests.unit.kernel.support import answer, route_to


def build(*paths: str) -> Router:
    router = Router()
    for path in paths:
        router.add(route_to(path))
    return router


def matched(router: Router, path: str) -> tuple[str, dict[str, str]] | None:
    found = router.match(path)
    return None if found is None else (found[0].path, dict(found[1]))


TABLE = ["a://x/y", "a://x/{p}", "a://{p}/y", "a://x/*", "a://*", "b://x", "a://{p}/z/{q}"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a://x/y", ("a://x/y", {})),
        ("a://x/z", ("a://x/{p}", {"p": "z"})),
        ("a://w/y", ("a://{p}/y", {"p": "w"})),
        ("a://x/z/w", ("a://x/*", {"*": "z/w"})),
        ("a://v/z/w", ("a://{p}/z/{q}", {"p": "v", "q": "w"})),
        ("a://x/w/w", ("a://x/*", {"*": "w/w"})),
        ("a://w/w", ("a://*", {"*": "w/w"})),
        ("a://w", ("a://*", {"*": "w"})),
        ("b://x", ("b://x", {})),
        ("b://y", None),
        ("c://x", None),
        ("a", None),
    ],
)
def test_precedence(path: str, expected: tuple[str, dict[str, str]] | None) -> None:
    for order in (TABLE, TABLE[::-1]):
        assert matched(build(*order), path) == expected


def test_backtracks_from_a_better_beginning_that_leads_nowhere() -> None:
    router = build("a://x/y/z", "a://{p}/y/w", "a://x/{q}/v")
    assert matched(router, "a://x/y/w") == ("a://{p}/y/w", {"p": "x"})
    assert matched(router, "a://x/y/v") == ("a://x/{q}/v", {"q": "y"})
    assert matched(router, "a://x/y/u") is None


def test_rest_takes_at_least_one_segment() -> None:
    assert matched(build("a://x/*"), "a://x") is None


@pytest.mark.parametrize("path", ["a://get/", "a://get/..", "a://get/%2F", "a://get/{id}"])
def test_a_forbidden_parameter_is_an_error_and_not_a_miss(path: str) -> None:
    with pytest.raises(InvalidPath):
        build("a://get/{id}").match(path)


def test_rest_is_decoded_per_segment() -> None:
    router = build("a://*")
    assert matched(router, "a://x%20y/z") == ("a://*", {"*": "x y/z"})
    with pytest.raises(InvalidPath):
        router.match("a://x/%2e%2e/y")


@pytest.mark.parametrize(("first", "second"), [("a://x", "a://x"), ("a://{p}", "a://{q}"), ("a://x/*", "a://x/*")])
def test_a_taken_path_is_refused_or_replaced(first: str, second: str) -> None:
    router = build(first)
    with pytest.raises(RouteError, match="replace=True"):
        router.add(route_to(second))
    new = route_to(second)
    router.add(new, replace=True)
    assert list(router) == [new] and len(router) == 1
    assert router.get(new.pattern) is new


def test_removes_only_the_very_route() -> None:
    router = build("a://x")
    route = router.exact["a://x"]
    assert not router.remove(route_to("a://x"))
    assert router.remove(route) and not router.remove(route)
    assert router.match("a://x") is None and router.exact == {}


def test_exact_is_live() -> None:
    router = Router()
    exact = router.exact
    route = route_to("a://x/y")
    router.add(route)
    router.add(route_to("a://{p}/y"))
    assert exact == {"a://x/y": route}


@pytest.mark.parametrize("settings", [{"requires": "user:write"}, {"timeout": 0}, {"timeout": -1.0}])
def test_wrong_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(RouteError):
        route_to("a://x", **settings)


def test_a_plain_route_calls_the_very_handler() -> None:
    assert route_to("a://x").call is answer


def oracle(routes: Sequence[Route], segments: Sequence[str]) -> Route | None:
    """The least matching route when each of its segments is ranked exact, parameter, rest."""
    ranked = []
    for route in routes:
        wanted = route.pattern.segments
        if len(segments) != len(wanted) and not (route.pattern.rest and len(segments) > len(wanted)):
            continue
        if route.pattern.rest and len(segments) == len(wanted):
            continue
        if all(want is None or want == got for want, got in zip(wanted, segments, strict=False)):
            rank = [0 if want is not None else 1 for want in wanted] + [2] * route.pattern.rest
            ranked.append((rank, id(route), route))
    return min(ranked)[2] if ranked else None


SEGMENT = st.sampled_from(["x", "y", "{p}", "*"])
PATTERNS = st.lists(st.lists(SEGMENT, min_size=1, max_size=4), max_size=12)


@given(PATTERNS, st.lists(st.integers(0, 11), max_size=4))
def test_agrees_with_a_brute_force_oracle(patterns: list[list[str]], removed: list[int]) -> None:
    router, routes = Router(), []
    for parts in patterns:
        named = [f"{{p{at}}}" if part == "{p}" else part for at, part in enumerate(parts)]
        if "*" in named[:-1]:
            continue
        route = route_to("a://" + "/".join(named))
        try:
            router.add(route)
            routes.append(route)
        except RouteError:
            assert any(each.pattern.shape == route.pattern.shape for each in routes)
    for index in removed:
        if index < len(routes):
            assert router.remove(routes.pop(index))
    for length in range(1, 5):
        for segments in itertools.product("xyz", repeat=length):
            found = router.match("a://" + "/".join(segments))
            assert (found and found[0]) is oracle(routes, segments)
