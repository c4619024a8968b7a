"""Bodies that came as text, such as a query: what the annotation of a handler makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import Any

import msgspec
from msgspec import inspect

__all__ = ["FromText", "text_converter"]

_LISTS = (inspect.ListType, inspect.VarTupleType, inspect.TupleType, inspect.SetType, inspect.FrozenSetType)
_OBJECTS = (inspect.StructType, inspect.DataclassType, inspect.TypedDictType)


class FromText(dict[str, Any]):
    """A body that came as text, such as a query: its texts become what the annotation asks for (`"7"` an `int`).

    Where that is a list, a text is the only one of it, since a query shows no difference. No text becomes a number
    that is none, or not finite.
    """


def text_converter(annotation: Any) -> Callable[[FromText], Any]:
    """What makes a body that came as text into an `annotation`; it raises msgspec.ValidationError."""
    lists = _list_fields(annotation)

    def converted(body: FromText) -> Any:
        given = {name: [each] if name in lists and type(each) is str else each for name, each in body.items()}
        found = msgspec.convert(given, annotation, strict=False)
        if not all(map(isfinite, _floats(found))):
            raise msgspec.ValidationError("Expected finite numbers")
        return found

    return converted


def _list_fields(annotation: Any) -> frozenset[str]:
    """The fields of an object that take several values, and nothing else that a text could be."""
    try:
        kinds = [each for each in _choices(inspect.type_info(annotation)) if isinstance(each, _OBJECTS)]
    except (TypeError, NameError):  # no type that can be looked into; whether it is one at all, the conversion says
        return frozenset()
    if len(kinds) != 1:
        return frozenset()
    return frozenset(each.encode_name for each in kinds[0].fields if _is_list(each.type))


def _is_list(kind: inspect.Type) -> bool:
    choices = [each for each in _choices(kind) if not isinstance(each, inspect.NoneType)]
    return bool(choices) and all(isinstance(each, _LISTS) for each in choices)


def _choices(kind: inspect.Type) -> list[inspect.Type]:
    if isinstance(kind, inspect.Metadata):
        return _choices(kind.type)
    return [one for each in kind.types for one in _choices(each)] if isinstance(kind, inspect.UnionType) else [kind]


def _floats(value: Any) -> Iterator[float]:
    """All the floats in what has been converted, which is as deep as the body was at the most."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _floats(getattr(value, name))
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _floats(key)
            yield from _floats(each)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for each in value:
            yield from _floats(each)
    elif is_dataclass(value):
        for each in fields(value):
            yield from _floats(getattr(value, each.name))
