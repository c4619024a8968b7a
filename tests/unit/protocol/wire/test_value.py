"""The data model: the quick look, the exact check and the lowering must agree."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from mycelia.errors import InvalidMessage
from mycelia.protocol.wire.value import MAX_INTEGER, MIN_INTEGER, check_value, fits, lower, type_name
from tests.support.names import shown


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    pass


class Whole(int):
    pass


class Real(float):
    pass


class User(Struct, rename="camel"):
    first_name: str
    score: float = 0.0


@dataclass
class Point:
    x: Any
    y: Any = None


Pair = namedtuple("Pair", "a b")


def nested(depth: int, leaf: object = None) -> object:
    value = leaf
    for level in range(depth):
        value = [value] if level % 2 else {"k": value}
    return value


INSIDE: list[object] = [
    None, True, False, 0, -1, MAX_INTEGER, MIN_INTEGER, 0.0, -1.5, 1.7e308, "", "text", "🌍", b"", b"\xff",
    datetime(2024, 1, 1, tzinfo=UTC), [], {}, (), [1, "a", None, [2.5]], (1, (2, 3)),
    {"": {"a": [MAX_INTEGER, MIN_INTEGER]}}, nested(64), nested(63, []),
]  # fmt: skip
OUTSIDE: list[tuple[object, str, str]] = [
    (MAX_INTEGER + 1, "$", "integer"),
    (MIN_INTEGER - 1, "$", "integer"),
    ([1, 2**64], "$[1]", "integer"),
    ({"a": {"b": [0, -(2**63) - 1]}}, "$.a.b[1]", "integer"),
    (math.nan, "$", "finite"),
    ([math.inf], "$[0]", "finite"),
    ({"x": -math.inf}, "$.x", "finite"),
    ({1: 2}, "$", "string keys, got the integer 1"),
    ({"a": {None: 2}}, "$.a", "string keys, got the null None"),
    ({b"a": 2}, "$", "string keys, got the bytes b'a'"),
    ({True: 2}, "$", "string keys, got the boolean True"),
    ({1.5: 2}, "$", "string keys, got the number 1.5"),
    ({("a",): 2}, "$", "string keys, got the array"),
    (nested(65), "$", "nested more than 64 deep"),
    ([nested(64)], "$", "nested more than 64 deep"),
    ({"a b": [math.nan]}, "$.'a b'[0]", "finite"),
    ("\ud800", "$", "surrogate"),
    (["ok\udfff"], "$[0]", "surrogate at character 2"),
    ({"\ud800": 1}, "$", "surrogate"),
    (object(), "$", "object"),
    ([{"f": len}], "$[0].f", "builtin_function_or_method"),
]
FOREIGN: list[tuple[object, object]] = [
    (Colour.RED, "red"),
    (Level.LOW, 1),
    (Text("x"), "x"),
    (Whole(3), 3),
    (Real(0.5), 0.5),
    (User("Ada", 1.5), {"firstName": "Ada", "score": 1.5}),
    (Point(1, [Point(2)]), {"x": 1, "y": [{"x": 2, "y": None}]}),
    (Point(MappingProxyType({"a": Text("b")})), {"x": {"a": "b"}, "y": None}),
    (MappingProxyType({"a": 1}), {"a": 1}),
    (OrderedDict(a=1), {"a": 1}),
    ({Colour.RED: 1}, {"red": 1}),
    (Pair(1, 2), [1, 2]),
    ({1}, [1]),
    (frozenset({"a"}), ["a"]),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Decimal("1.10"), "1.10"),
    (date(2024, 2, 29), "2024-02-29"),
    (bytearray(b"ab"), b"ab"),
    (memoryview(b"ab"), b"ab"),
    ({"deep": [(User("Ada"),)]}, {"deep": [[{"firstName": "Ada", "score": 0.0}]]}),
]
FOREIGN_OUTSIDE: list[tuple[object, str, str]] = [
    (Point(math.nan), "$.x", "finite"),
    ([User("Ada", math.inf)], "$[0].score", "finite"),
    (Point({1: 2}), "$.x", "string keys"),
    (Point([2**63]), "$.x[0]", "integer"),
    (Real("nan"), "$", "finite"),
    (Whole(2**63), "$", "integer"),
    ({Level.LOW: 1}, "$", "string keys"),
    ([Point(object())], "$[0]", "no wire form for object"),
    (Point(nested(64)), "$.x", "nested more than 64 deep"),
    (1j, "$", "complex"),
    (range(3), "$", "range"),
    (int, "$", "type"),
]


@pytest.mark.parametrize("value", INSIDE, ids=shown)
def test_values_inside_the_model(value: object) -> None:
    assert fits(value)
    check_value(value)
    lowered = lower(value)
    assert lowered == value or type_name(value) in ("array", "object")
    assert fits(lowered)


@pytest.mark.parametrize(("value", "place", "problem"), OUTSIDE, ids=shown)
def test_values_outside_the_model(value: object, place: str, problem: str) -> None:
    assert not fits(value) or "surrogate" in problem
    with pytest.raises(InvalidMessage) as checked:
        check_value(value)
    with pytest.raises(InvalidMessage) as lowered:
        lower(value)
    for caught in (checked, lowered):
        assert caught.value.problem.startswith(place)
        assert problem in caught.value.problem


@pytest.mark.parametrize(("value", "plain"), FOREIGN, ids=shown)
def test_foreign_objects_are_lowered(value: object, plain: object) -> None:
    assert not fits(value)
    lowered = lower(value)
    assert lowered == plain
    assert type(lowered) is type(plain)
    check_value(lowered)


@pytest.mark.parametrize("value", [value for value, _ in FOREIGN], ids=shown)
def test_foreign_objects_are_outside_the_model_themselves(value: object) -> None:
    if not isinstance(value, dict) or isinstance(value, OrderedDict):
        with pytest.raises(InvalidMessage, match="outside the data model"):
            check_value(value)


@pytest.mark.parametrize(("value", "place", "problem"), FOREIGN_OUTSIDE, ids=shown)
def test_foreign_objects_with_values_outside_the_model(value: object, place: str, problem: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        lower(value)
    assert caught.value.problem.startswith(f"{place}")
    assert problem in caught.value.problem


def test_a_value_that_holds_itself_is_too_deep() -> None:
    ring: list[object] = []
    ring.append(ring)
    point = Point(None)
    point.x = point
    for value in (ring, point):
        assert not fits(value)
        with pytest.raises(InvalidMessage, match="nested more than 64 deep"):
            lower(value)


def test_the_place_begins_where_the_caller_says() -> None:
    with pytest.raises(InvalidMessage, match=r"^body\.x: "):
        check_value({"x": math.nan}, where="body")
    with pytest.raises(InvalidMessage, match=r"^body\.x: "):
        lower({"x": math.nan}, where="body")


@pytest.mark.parametrize("room", [0, 1, 2])
def test_room_counts_containers(room: int) -> None:
    assert fits(nested(room), room)
    assert not fits(nested(room + 1), room)
    check_value(nested(room), room=room)
    with pytest.raises(InvalidMessage):
        check_value(nested(room + 1), room=room)


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(MIN_INTEGER - 2, MIN_INTEGER + 2)
    | st.integers(MAX_INTEGER - 2, MAX_INTEGER + 2)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
)


@given(ANY, st.sampled_from([0, 1, 2, 61, 62, 63, 64, 65]), st.sampled_from(["list", "tuple", "dict"]))
def test_many_neighbours_change_no_verdict(value: object, depth: int, kind: str) -> None:
    """Wide containers are looked at level by level."""
    for _ in range(depth):
        value = [value]
    neighbours: list[object] = [0, "a", 1.5, None, [], {}, [1], {"k": (2.5, b"")}] * 10
    wide: object = [*neighbours, value]
    if kind == "dict":
        wide = {str(number): each for number, each in enumerate([*neighbours, value])}
    elif kind == "tuple":
        wide = (*neighbours, value)
    _agree(wide)


@given(ANY)
def test_the_quick_look_and_the_exact_check_agree(value: object) -> None:
    _agree(value)


def test_a_wide_value_that_holds_itself_is_not_walked_for_ever() -> None:
    wide: list[object] = [0] * 100
    wide.extend([wide] * 100)
    assert not fits(wide)


def _agree(value: object) -> None:
    try:
        check_value(value)
    except InvalidMessage:
        assert not fits(value)
    else:
        assert fits(value)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        *((None, "null"), (True, "boolean"), (1, "integer"), (1.5, "number"), ("", "string")),
        *((b"", "bytes"), ([], "array"), ((), "array"), ({}, "object"), (1j, "complex")),
        (datetime(2024, 1, 1, tzinfo=UTC), "timestamp"),
    ],
)
def test_types_have_the_names_of_the_wire_language(value: object, name: str) -> None:
    assert type_name(value) == name
