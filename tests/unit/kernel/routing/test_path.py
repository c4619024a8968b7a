from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.errors import InvalidPath, RouteError
from mycelia.kernel.routing.path import Pattern, canonical, check_path, decode, fill, subsystem_of, valid_name
from mycelia.kernel.routing.router import Route, Router
from tests.unit.kernel.support import route_to


@pytest.mark.parametrize(
    ("name", "valid"),
    [("user", True), ("a-b.c_2", True), ("", False), ("2a", False), ("a b", False), ("é", False), (5, False)],
)
def test_valid_name(name: object, valid: bool) -> None:
    assert valid_name(name) is valid


def test_subsystem_of() -> None:
    assert subsystem_of("user://get/1") == "user"


@pytest.mark.parametrize("path", ["", "user", "user:/x", "://x", "1://x", "a b://x", "{x}://y"])
def test_subsystem_of_refuses(path: str) -> None:
    with pytest.raises(InvalidPath, match="expected subsystem://"):
        subsystem_of(path)


@pytest.mark.parametrize("path", ["a://", "a://b/", "a:///b", "a://b//c", "a://.", "a://b/../c", "a://b\\c", "a://\0"])
def test_check_path_refuses(path: str) -> None:
    with pytest.raises(InvalidPath):
        check_path(path)


@pytest.mark.parametrize(
    ("text", "segments", "names", "rest", "literal"),
    [
        ("a://b", ("b",), (), False, True),
        ("a://b/{c}/d", ("b", None, "d"), ("c",), False, False),
        ("a://{x}/{y}", (None, None), ("x", "y"), False, False),
        ("a://b/*", ("b",), (), True, False),
        ("a://*", (), (), True, False),
        ("a://{x}/*", (None,), ("x",), True, False),
    ],
)
def test_pattern(
    text: str, segments: tuple[str | None, ...], names: tuple[str, ...], rest: bool, literal: bool
) -> None:
    pattern = Pattern.parse(text)
    assert (pattern.segments, pattern.names, pattern.rest, pattern.literal) == (
        segments,
        names,
        rest,
        literal,
    )
    assert (pattern.text, pattern.subsystem) == (text, "a")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a", "expected subsystem://"),
        ("1://b", "expected subsystem://"),
        ("a://", "may not be a segment"),
        ("a://b/", "may not be a segment"),
        ("a://b//c", "may not be a segment"),
        ("a://../c", "may not be a segment"),
        ("a://b\\c", "may not be a segment"),
        ("a://x-{y}", "a parameter is a whole segment"),
        ("a://{}", "a parameter is a whole segment"),
        ("a://{1}", "a parameter is a whole segment"),
        ("a://{x}/{x}", "occurs twice"),
        ("a://*/b", "only be the last"),
        (5, "expected a string"),
    ],
)
def test_pattern_refuses(text: Any, problem: str) -> None:
    with pytest.raises(RouteError, match=problem):
        Pattern.parse(text)


@pytest.mark.parametrize(
    ("segment", "value"),
    [
        ("abc", "abc"),
        ("a%20b", "a b"),
        ("a%252Fb", "a%2Fb"),
        ("%C3%A9", "é"),
        ("é", "é"),
        ("a+b", "a+b"),
        ("...", "..."),
    ],
)
def test_decode(segment: str, value: str) -> None:
    assert decode("a://b", "x", segment) == value


@pytest.mark.parametrize(
    "segment",
    [
        "",
        ".",
        "..",
        "%2e",
        "%2E%2e",
        "%2F",
        "a%2fb",
        "%5c",
        "a\\b",
        "%00",
        "\0",
        "%",
        "%zz",
        "a%2",
        "%FF",
        "{id}",
        "a}",
    ],
)
def test_decode_refuses(segment: str) -> None:
    with pytest.raises(InvalidPath):
        decode("a://b", "x", segment)


@pytest.mark.parametrize(
    ("path", "body", "filled", "values"),
    [
        ("a://b/c", None, "a://b/c", {}),
        ("a://get/{id}", {"id": "5"}, "a://get/5", {"id": "5"}),
        ("a://get/{id}", {"id": 5}, "a://get/5", {"id": "5"}),
        ("a://get/{id}", {"id": -5}, "a://get/-5", {"id": "-5"}),
        ("a://get/{id}", {"id": True}, "a://get/true", {"id": "true"}),
        ("a://get/{id}", {"id": False}, "a://get/false", {"id": "false"}),
        ("a://get/{id}", {"id": "a%2Fb"}, "a://get/a%252Fb", {"id": "a%2Fb"}),
        ("a://get/{id}", {"id": "{x}"}, "a://get/%7Bx%7D", {"id": "{x}"}),
        ("a://{x}/{y}/{x}", {"x": "é", "y": "a b"}, "a://é/a b/é", {"x": "é", "y": "a b"}),
    ],
)
def test_fill(path: str, body: Any, filled: str, values: dict[str, str]) -> None:
    assert fill(path, body) == (filled, values)


UNFIT: list[object] = ["", ".", "..", "a/b", "a\\b", "\0", None, 1.5, [], {}]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("a://{id}", None),
        ("a://{id}", []),
        ("a://{id}", "id"),
        ("a://{id}", {}),
        *(("a://{id}", {"id": value}) for value in UNFIT),
        ("{id}://x", {"id": "a"}),
        ("a{id}://x", {"id": "a"}),
        ("x{id}", {"id": "a"}),
        ("a://x{id}", {"id": "a"}),
        ("a://{id}x", {"id": "a"}),
        ("a://{", {}),
        ("a://}", {}),
        ("a://{}", {"": "a"}),
        ("a://{a b}", {"a b": "a"}),
        ("a://{{id}}", {"id": "a"}),
    ],
)
def test_fill_refuses(path: str, body: Any) -> None:
    with pytest.raises(InvalidPath):
        fill(path, body)


VALUES: st.SearchStrategy[object] = st.integers(-(2**63), 2**63) | st.booleans() | st.text()


@given(st.text(), VALUES)
def test_a_filled_value_arrives_as_it_is(before: str, value: object) -> None:
    """Whatever fill lets through reaches the handler unchanged, and never moves to another route."""
    router = Router()
    route: Route = route_to("a://get/{other}/tail")
    router.add(route)
    router.add(route_to("a://*"))
    try:
        path, values = fill("a://get/{id}/tail", {"id": value, "x": before})
    except InvalidPath:
        text = str(value)
        assert text in ("", ".", "..") or any(mark in text for mark in "/\\\0")
        return
    assert router.match(path) == (route, {"other": values["id"]})
    if isinstance(value, str):
        assert values == {"id": value}


@given(st.text())
def test_fill_and_check_raise_nothing_else(path: str) -> None:
    for check in (lambda: fill(path, {"a": "b"}), lambda: check_path(path)):
        with suppress(InvalidPath):
            check()


@pytest.mark.parametrize(
    ("path", "one"),
    [
        ("a://b/c", "a://b/c"),
        ("a://%62/c", "a://b/c"),
        ("a://b%20c/%E2%82%AC", "a://b c/€"),
        ("a://%2562", "a://%2562"),
        ("a://%7bx%7D", "a://%7Bx%7D"),
    ],
)
def test_a_path_has_one_spelling(path: str, one: str) -> None:
    assert canonical(path) == one
    assert canonical(one) == one
