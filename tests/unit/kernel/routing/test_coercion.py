"""Bodies that came as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import msgspec
import pytest

from mycelia.kernel.routing.coercion import FromText, text_converter


class Search(msgspec.Struct, rename="camel"):
    tag_list: list[str] = []
    few: Annotated[tuple[int, ...], msgspec.Meta(max_length=2)] | None = None
    kinds: Sequence[str] = ()
    either: str | list[str] = ""
    raw: bytes | list[str] = b""
    price: float = 0.0


class Typed(TypedDict, total=False):
    tags: set[str]


@dataclass
class Plain:
    tags: list[float] = field(default_factory=list)


class Nested(msgspec.Struct):
    inner: dict[str, Plain]


@pytest.mark.parametrize(
    ("annotation", "given", "expected"),
    [
        (Search, {"tagList": "a"}, Search(tag_list=["a"])),
        (Search | None, {"tagList": "a"}, Search(tag_list=["a"])),
        (Search, {"tagList": ["a", "b"], "kinds": "k"}, Search(tag_list=["a", "b"], kinds=["k"])),
        (Search, {"few": "7"}, Search(few=(7,))),
        (Search, {"either": "a"}, Search(either="a")),
        (Search, {"price": "1.5"}, Search(price=1.5)),
        (Typed, {"tags": "a"}, {"tags": {"a"}}),
        (Plain, {"tags": "1"}, Plain([1.0])),
        (dict, {"tags": "a"}, {"tags": "a"}),
        (dict[str, list[str]], {"tags": ["a"]}, {"tags": ["a"]}),
        (Any, {"a": "nan"}, {"a": "nan"}),
    ],
)
def test_texts_become_what_is_asked_for(annotation: Any, given: dict[str, Any], expected: Any) -> None:
    assert text_converter(annotation)(FromText(given)) == expected


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "Infinity", "-NaN"])
@pytest.mark.parametrize(
    ("annotation", "spell"),
    [
        (Search, lambda text: {"price": text}),
        (Plain, lambda text: {"tags": ["1", text]}),
        (Plain, lambda text: {"tags": text}),
        (Nested, lambda text: {"inner": {"x": {"tags": [text]}}}),
        (dict[str, float], lambda text: {"x": text}),
    ],
)
def test_no_text_becomes_a_number_that_is_not_finite(annotation: Any, spell: Any, text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        text_converter(annotation)(FromText(spell(text)))


def test_what_cannot_be_looked_into_is_left_to_the_conversion() -> None:
    class Opaque:
        pass

    for annotation in (Opaque, "Nowhere", int, list[int]):
        with pytest.raises((msgspec.ValidationError, TypeError, NameError)):
            text_converter(annotation)(FromText(a="1"))
