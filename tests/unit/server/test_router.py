from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia import InvalidPath, RateLimiter, RouteError
from mycelia.asgi.scope import checked_path
from mycelia.server.router import METHODS, HttpRoute, HttpRouter, MethodNotAllowed


def table(*specs: str) -> HttpRouter:
    router = HttpRouter()
    for spec in specs:
        method, path = spec.split(" ")
        names = "/".join(each for each in path.split("/") if each.startswith("{"))
        router.add(HttpRoute.of(method, path, f"app://x/{names}".rstrip("/")))
    return router


def found(router: HttpRouter, spec: str) -> tuple[str, dict[str, str]] | None:
    method, path = spec.split(" ")
    hit = router.match(method, path)
    return None if hit is None else (hit[0].text, dict(hit[1]))


def test_exact_beats_a_parameter_and_the_order_does_not_matter() -> None:
    router = table("GET /users/{id}", "GET /users/me", "GET /{a}/me", "GET /", "POST /users/{name}", "GET /é/x")
    assert found(router, "GET /users/me") == ("GET /users/me", {})
    assert found(router, "GET /users/7") == ("GET /users/{id}", {"id": "7"})
    assert found(router, "POST /users/7") == ("POST /users/{name}", {"name": "7"})
    assert found(router, "GET /x/me") == ("GET /{a}/me", {"a": "x"})
    assert found(router, "GET /") == ("GET /", {})
    assert found(router, "GET /é/x") == ("GET /é/x", {})
    assert found(router, "HEAD /users/7") == ("GET /users/{id}", {"id": "7"})
    for nothing in ("/users", "/users/", "/users/7/", "//users/7", "/users//7", "/users/7/x", "/users/..", "/."):
        assert found(router, f"GET {nothing}") is None
    assert len(router) == len(list(router)) == 6


def test_other_methods_are_named() -> None:
    router = table("GET /a", "PUT /a", "DELETE /b", "HEAD /c")
    assert router.methods("/a") == ("GET", "HEAD", "PUT", "OPTIONS")
    assert router.methods("/b") == ("DELETE", "OPTIONS")
    assert router.methods("/c") == ("HEAD", "OPTIONS")
    assert router.methods("/d") == router.methods("/a/") == ()
    for method in ("POST", "get", "BREW"):
        with pytest.raises(MethodNotAllowed) as caught:
            router.match(method, "/a")
        assert caught.value.allowed == ("GET", "HEAD", "PUT", "OPTIONS")
    with pytest.raises(MethodNotAllowed):
        router.match("GET", "/c")


def test_a_route_is_taken_replaced_and_removed() -> None:
    router = table("GET /users/{id}")
    other = HttpRoute.of("GET", "/users/{name}", "app://other/{name}")
    with pytest.raises(RouteError, match="already registered"):
        router.add(other)
    router.add(other, replace=True)
    assert list(router) == [other]
    assert router.remove("GET", "/users/{whatever}") and not router.remove("GET", "/users/{id}")
    assert len(router) == 0 and router.match("GET", "/users/7") is None


@pytest.mark.parametrize(
    ("method", "path", "target", "settings"),
    [
        ("get", "/a", "app://a", {}),
        ("TRACE", "/a", "app://a", {}),
        ("GET", "a", "app://a", {}),
        ("GET", "", "app://a", {}),
        ("GET", "/a?b", "app://a", {}),
        ("GET", "/a#b", "app://a", {}),
        ("GET", "/%61", "app://a", {}),
        ("GET", "/a/", "app://a", {}),
        ("GET", "/a//b", "app://a", {}),
        ("GET", "/a/../b", "app://a", {}),
        ("GET", "/{a}/{a}", "app://a", {}),
        ("GET", "/x{a}", "app://a", {}),
        ("GET", "/{body}", "app://a", {}),
        ("GET", "/a/*", "app://a", {}),
        ("GET", "/a", "app://*", {}),
        ("GET", "/a", "app", {}),
        ("GET", "/a", "", {}),
        ("GET", "/a", "app://a", {"status": 99}),
        ("GET", "/a", "app://a", {"status": True}),
        ("GET", "/a", "app://a", {"statuses": {"X": "409"}}),
        ("GET", "/a", "app://a", {"timeout": 0}),
        ("GET", "/a", "app://a", {"limit": 5}),
        ("GET", "/a", "app://a", {"requires": "one"}),
        ("GET", "/a", "app://a", {"expose": True}),
    ],
)
def test_what_can_be_no_route(method: str, path: str, target: str, settings: dict[str, Any]) -> None:
    with pytest.raises(RouteError):
        HttpRoute.of(method, path, target, **settings)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/x/<int:id>", "'/x/{id}'"),
        ("/x/<id>/<path:rest>/", "'/x/{id}/{rest}/'"),
        ("/x/a<b", "'/users/{id}'"),
        ("/x/<re('a:b'):id>", "'/x/{id}'"),
    ],
)
def test_parameters_of_other_frameworks_are_told_how_ours_are_written(path: str, shown: str) -> None:
    with pytest.raises(RouteError, match=re.escape(f"a parameter is {{id}}, as in {shown};")):
        HttpRoute.of("GET", path, "app://x")
    with pytest.raises(RouteError, match=re.escape("a parameter is {id}, as in 'app://x/{id}';")):
        HttpRoute.of("GET", "/x/{id}", "app://x/<int:id>")


def test_what_a_route_says_of_itself() -> None:
    limit = RateLimiter(1, 1.0)
    route = HttpRoute.of("PUT", "/a/{b}", "app://a/{b}", requires={"x"}, authenticated=True, timeout=2, limit=limit)
    assert (route.text, route.target, route.status) == ("PUT /a/{b}", "app://a/{b}", 200)
    assert route.guard.requires == frozenset({"x"})
    assert (route.guard.authenticated, route.guard.timeout) == (True, 2)


@given(st.text(min_size=1))
def test_a_parameter_is_decoded_once_or_refused(value: str) -> None:
    router = table("GET /users/{id}")
    bad = value in (".", "..") or any(sign in value for sign in "/\\\0")
    try:
        raw = "/users/" + quote(value, safe="")
    except UnicodeEncodeError:
        return
    try:
        hit = router.match("GET", checked_path({"path": unquote(raw), "raw_path": raw.encode()}))
    except InvalidPath:
        assert bad
    else:
        assert value in (".", "..") if hit is None else not bad and hit[1] == {"id": value}


@given(st.sampled_from([*METHODS, "X"]), st.text(alphabet="/ab.%2F{}*é~-", max_size=12))
def test_any_path_is_answered_somehow(method: str, path: str) -> None:
    router = table("GET /a/{b}", "POST /a", "PUT /{x}/b/{y}")
    try:
        hit = router.match(method, "/" + path)
    except (MethodNotAllowed, InvalidPath):
        return
    if hit is not None:
        assert all(value and "/" not in value and value not in (".", "..") for value in hit[1].values())
