from __future__ import annotations

import enum
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial, wraps
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.errors import InvalidBody, InvalidPath, MyceliaError, RouteError, SignatureError
from mycelia.kernel.messages.context import Caller, Options
from mycelia.kernel.messages.message import Message
from mycelia.kernel.routing.coercion import FromText
from mycelia.kernel.routing.handler import Plan, compile_plan

CONNECTION = object()
OPTIONS = Options(caller=Caller("client", "c"), connection=CONNECTION)


def call(plan: Plan, body: Any = None, **params: str) -> Any:
    return plan.call(Message("a://x", body), params, OPTIONS)


class Rename(msgspec.Struct):
    name: str
    tags: list[int] = []


@dataclass
class Point:
    x: int
    y: int = 0


class Entry(TypedDict):
    key: str


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


def seed_three(message, params, options):  # type: ignore[no-untyped-def]  # the seed's handlers are untyped
    return message.path, params, options


def seed_other_names(m, p, o):  # type: ignore[no-untyped-def]
    return m.path, p, o


def seed_defaults(m, p=None, o=None):  # type: ignore[no-untyped-def]
    return m.path, p, o


def seed_variadic(*args):  # type: ignore[no-untyped-def]
    return args[0].path, args[1], args[2]


def typed_triple(message: Message, params: Mapping[str, str], options: Options) -> object:
    return message.path, params, options


@pytest.mark.parametrize("handler", [seed_three, seed_other_names, seed_defaults, seed_variadic, typed_triple])
def test_the_triple_is_the_handler_itself(handler: Callable[..., Any]) -> None:
    plan = compile_plan(handler, "a://x/{id}")
    assert plan.call is handler
    assert call(plan, id="5") == ("a://x", {"id": "5"}, OPTIONS)


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (lambda: "none", "none"),
        (lambda m: m.path, "a://x"),
        (lambda m, p: (m.path, p), ("a://x", {"id": "5"})),
        (lambda m, p, o, extra=3: (m.path, extra), ("a://x", 3)),
        (lambda m, *, extra=3: (m.path, extra), ("a://x", 3)),
        (lambda m, **more: (m.path, more), ("a://x", {})),
    ],
)
def test_fewer_positional_parameters(handler: Callable[..., Any], expected: object) -> None:
    assert call(compile_plan(handler, "a://x/{id}"), id="5") == expected


def test_binds_by_name() -> None:
    def handler(
        connection: Any,
        id: int,
        body: Rename,
        options: Options,
        params: object,
        message: Message,
        limit: int = 9,
    ) -> object:
        return connection, id, body, options, params, message.path, limit

    plan = compile_plan(handler, "a://x/{id}")
    assert call(plan, {"name": "n"}, id="5") == (*(CONNECTION, 5, Rename("n"), OPTIONS, {"id": "5"}, "a://x", 9),)
    sources = [(each.name, each.source, each.required) for each in plan.parameters]
    assert ("id", "path", True) in sources and ("body", "body", True) in sources
    assert ("limit", "default", False) in sources


def test_binds_by_name_after_a_skipped_default_and_by_keyword() -> None:
    def handler(limit: int = 1, body: Any = None, *, id: str) -> object:
        return limit, body, id

    assert call(compile_plan(handler, "a://x/{id}"), 7, id="5") == (1, 7, "5")


def test_an_unannotated_path_parameter_binds_by_name() -> None:
    assert call(compile_plan(lambda id: id, "a://x/{id}"), id="5") == "5"
    assert call(compile_plan(lambda body: body, "a://x"), [1]) == [1]


class Service:
    async def method(self, body: Rename) -> str:
        return body.name

    async def __call__(self, m, p, o) -> str:  # type: ignore[no-untyped-def]
        return "called"

    def plain(self, id: int) -> int:
        return id


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@decorated
def under_a_decorator(body: Rename, id: int) -> object:
    return body.name, id


async def with_prefix(prefix: str, body: Rename) -> str:
    return prefix + body.name


async def test_methods_partials_callables_and_decorators() -> None:
    service = Service()
    method = compile_plan(service.method, "a://x")
    assert method.is_async and await call(method, {"name": "n"}) == "n"
    called = compile_plan(service, "a://x")
    assert called.is_async and await call(called) == "called"
    plain = compile_plan(service.plain, "a://x/{id}")
    assert not plain.is_async and call(plain, id="3") == 3
    bound = compile_plan(partial(with_prefix, "p-"), "a://x")
    assert bound.is_async and await call(bound, {"name": "n"}) == "p-n"
    named = compile_plan(partial(with_prefix, prefix="q-"), "a://x")
    assert await call(named, {"name": "n"}) == "q-n"
    under = compile_plan(under_a_decorator, "a://x/{id}")
    assert call(under, {"name": "n"}, id="1") == ("n", 1)


def _variadic(body: Any, *rest: Any) -> None: ...
def _keywords(body: Any, **rest: Any) -> None: ...
def _only_keywords(**rest): ...  # type: ignore[no-untyped-def]
def _unknown(body: Any, nmae: str) -> None: ...
def _four(a, b, c, d): ...  # type: ignore[no-untyped-def]
def _keyword(m, *, extra): ...  # type: ignore[no-untyped-def]
def _mixed(m, params): ...  # type: ignore[no-untyped-def]
def _positional(limit: int = 1, body: Any = None, /) -> None: ...


@pytest.mark.parametrize(
    ("handler", "parameter"),
    [
        (_variadic, "*rest"),
        (_keywords, "**rest"),
        (_only_keywords, "**rest"),
        (_unknown, "nmae"),
        (_four, "d"),
        (_keyword, "extra"),
        (_mixed, "m"),
        (_positional, "body"),
    ],
)
def test_signatures_that_do_not_fit(handler: Callable[..., Any], parameter: str) -> None:
    with pytest.raises(SignatureError) as caught:
        compile_plan(handler, "a://x/{id}")
    assert caught.value.parameter == parameter
    assert repr(parameter) in str(caught.value) and "a://x/{id}" in str(caught.value)


@pytest.mark.parametrize("name", ["message", "params", "options", "connection", "body"])
def test_a_path_parameter_may_not_take_a_reserved_name(name: str) -> None:
    with pytest.raises(SignatureError, match="reserved name"):
        compile_plan(seed_three, f"a://x/{{{name}}}")


def test_a_handler_must_be_callable() -> None:
    with pytest.raises(RouteError, match="expected a callable"):
        compile_plan(5, "a://x")  # type: ignore[arg-type]
    with pytest.raises(RouteError, match="cannot be read"):
        compile_plan(dict, "a://x")


def _annotated_in_vain(body: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821 - the point
def _two_structs(body: Rename | Point) -> None: ...
def _typing_only(connection: Nowhere, body: Rename) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def test_annotations_that_cannot_be_used() -> None:
    for handler in (_annotated_in_vain, _two_structs):
        with pytest.raises(SignatureError, match="unusable annotation"):
            compile_plan(handler, "a://x")


def test_what_is_not_converted_needs_no_resolvable_annotation() -> None:
    assert call(compile_plan(_typing_only, "a://x"), {"name": "n"}) is None


BODIES: list[tuple[Any, Any, Any]] = [
    (Rename, {"name": "n", "tags": [1]}, Rename("n", [1])),
    (Rename, Rename("n"), Rename("n")),
    (Point, {"x": 1}, Point(1)),
    (Entry, {"key": "k"}, {"key": "k"}),
    (list[Point], [{"x": 1, "y": 2}], [Point(1, 2)]),
    (int | None, None, None),
    (uuid.UUID, "12345678-1234-5678-1234-567812345678", uuid.UUID("12345678-1234-5678-1234-567812345678")),
    (datetime, "2024-01-02T03:04:05Z", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
    (Annotated[int, msgspec.Meta(gt=0)], 5, 5),
    (Any, {"x": [1]}, {"x": [1]}),
    (object, 5, 5),
    (dict, {"x": 1}, {"x": 1}),
    (dict[str, Any], {"x": 1}, {"x": 1}),
    (Mapping[str, Any], {"x": 1}, {"x": 1}),
    (Literal["a", "b"], "a", "a"),
]


def handler_of(annotation: Any, name: str = "body") -> Callable[..., Any]:
    def body_handler(body: Any) -> Any:
        return body

    def id_handler(id: Any) -> Any:
        return id

    handler = body_handler if name == "body" else id_handler
    handler.__annotations__[name] = annotation
    return handler


@pytest.mark.parametrize(("annotation", "body", "expected"), BODIES)
def test_bodies_validate(annotation: Any, body: Any, expected: Any) -> None:
    got = call(compile_plan(handler_of(annotation), "a://x"), body)
    assert got == expected
    if annotation in (Any, object, dict, dict[str, Any], Mapping[str, Any]):
        assert got is body


@pytest.mark.parametrize(
    ("annotation", "body", "at"),
    [
        (Rename, None, "$"),
        (Rename, {}, "$"),
        (Rename, {"name": 5}, "$.name"),
        (Rename, {"name": "n", "tags": [1, "x"]}, "$.tags[1]"),
        (Rename, {"name": "n", "tags": ["1"]}, "$.tags[0]"),
        (Point, {"x": "1"}, "$.x"),
        (Entry, {"key": 1}, "$.key"),
        (dict, [], "$"),
        (dict[str, Any], None, "$"),
        (dict[str, int], {1: 1}, "$"),
        (int, True, "$"),
        (int, 1.5, "$"),
        (Literal["a"], "b - at `$.x`", "$"),
    ],
)
def test_bodies_that_do_not_validate(annotation: Any, body: Any, at: str) -> None:
    with pytest.raises(InvalidBody) as caught:
        call(compile_plan(handler_of(annotation), "a://x"), body)
    assert caught.value.at == at
    assert caught.value.code == "INVALID_BODY"


def test_an_absent_body_takes_the_default() -> None:
    def handler(body: Rename = Rename("default")) -> str:  # noqa: B008 - immutable enough here
        return body.name

    def loose(body=5):  # type: ignore[no-untyped-def]
        return body

    assert call(compile_plan(handler, "a://x")) == "default"
    assert call(compile_plan(handler, "a://x"), {"name": "n"}) == "n"
    bodies: list[Any] = [None, 0, []]
    assert [call(compile_plan(loose, "a://x"), body) for body in bodies] == [5, 0, []]


@pytest.mark.parametrize(
    ("annotation", "text", "expected"),
    [
        (str, "5", "5"),
        (int, "5", 5),
        (int, "-5", -5),
        (float, "1.5", 1.5),
        (bool, "true", True),
        (bool, "0", False),
        (
            uuid.UUID,
            "12345678-1234-5678-1234-567812345678",
            uuid.UUID(int=0x12345678123456781234567812345678),
        ),
        (Colour, "red", Colour.RED),
        (Level, "1", Level.LOW),
        (Literal[1, 2], "2", 2),
        (Literal["a"], "a", "a"),
        (int | None, "5", 5),
        (Annotated[int, msgspec.Meta(ge=1)], "5", 5),
    ],
)
def test_path_parameters_convert(annotation: Any, text: str, expected: Any) -> None:
    got = call(compile_plan(handler_of(annotation, "id"), "a://x/{id}"), id=text)
    assert got == expected and type(got) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        *((int, text) for text in ("x", " 5", "1_0", "+5", "5.0", "--5", "-", "\u0665", "1" * 5000)),
        (float, "x"),
        (float, "nan"),
        (float, "inf"),
        (bool, "yes"),
        (uuid.UUID, "x"),
        (Colour, "blue"),
        (Level, "2"),
        (Literal["a"], "b"),
        (Annotated[int, msgspec.Meta(ge=1)], "0"),
    ],
)
def test_path_parameters_that_do_not_convert(annotation: Any, text: str) -> None:
    with pytest.raises(InvalidPath, match="parameter 'id'") as caught:
        call(compile_plan(handler_of(annotation, "id"), "a://x/{id}"), id=text)
    assert caught.value.code == "INVALID_PATH"


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_any_body_is_validated_or_refused(body: Any) -> None:
    plan = compile_plan(handler_of(Rename), "a://x")
    try:
        assert isinstance(call(plan, body), Rename)
    except MyceliaError as fault:
        assert isinstance(fault, InvalidBody) and fault.at.startswith("$")


class Page(msgspec.Struct):
    limit: int
    deep: bool = False


def test_what_came_as_text_is_converted_to_the_annotation() -> None:
    def limit(body: Page) -> object:
        return body.limit, body.deep

    plan = compile_plan(limit, "a://x")
    assert call(plan, FromText(limit="7", deep="true")) == (7, True)
    assert call(plan, FromText(limit=7)) == (7, False)
    for body in ({"limit": "7"}, FromText(limit="seven"), FromText()):
        with pytest.raises(InvalidBody):
            call(plan, body)


def test_what_came_as_text_is_a_mapping_like_any_other() -> None:
    assert call(compile_plan(lambda body: body, "a://x"), FromText(a="1")) == {"a": "1"}

    def mapping(body: dict[str, Any]) -> object:
        return type(body), body

    assert call(compile_plan(mapping, "a://x"), FromText(a="1")) == (dict, {"a": "1"})
