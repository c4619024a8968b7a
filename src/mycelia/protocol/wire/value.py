"""The one data model of every codec: what may stand in an envelope.

Null, booleans, integers of 64 bits with sign, finite floats, text, lists, mappings with string keys, at most
64 containers deep; besides these `bytes` and `datetime`, which MessagePack carries as they are and JSON as
text.

Ordinary values are judged by `fits`, a walk that builds nothing: about 60 ns for a value by itself and 50 to
100 ns more for each value inside (Python 3.11). What does not fit at once takes the slow way through `lower`,
which also turns dataclasses, Structs, enums, sets and the like into plain values, and names the place of a
fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import chain
from math import isfinite
from typing import Any, Final

from msgspec import to_builtins

from mycelia.errors import InvalidMessage

__all__ = ["MAX_DEPTH", "MAX_INTEGER", "MIN_INTEGER", "SCALARS", "TEXTUAL", "check_value", "fits", "lower", "type_name"]

MAX_DEPTH: Final = 64
MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**63 - 1

SCALARS: Final[frozenset[type]] = frozenset({str, bool, type(None), bytes, datetime})
TEXTUAL: Final[frozenset[type]] = SCALARS - {bytes}
_INTEGERS, _FLOATS, _MAPPINGS = frozenset({int}), frozenset({float}), frozenset({dict})
_ARRAYS = frozenset({list, tuple})
_CONTAINERS = _ARRAYS | _MAPPINGS
_INNER = _CONTAINERS | {int, float}
_KEYS = frozenset({str})
_WIDE: Final = 64
_MOST: Final = 1_000_000  # entries of one depth; a value that holds itself many times over could have any number
_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (bytes, "bytes"),
    (datetime, "timestamp"),
    (list, "array"),
    (tuple, "array"),
    (Mapping, "object"),
)


class _Misfit(Exception):
    """Why a value is outside the model; the place grows from the inside out while it is raised."""

    def __init__(self, problem: str) -> None:
        self.problem, self.place = problem, ""
        super().__init__(problem)

    def inside(self, step: str) -> _Misfit:
        self.place = step + self.place
        return self


def type_name(value: object) -> str:
    """The wire language's word for the type of a value; for foreign objects the name of their class."""
    if value is None:
        return "null"
    for kind, name in _NAMES:
        if isinstance(value, kind):
            return name
    return type(value).__name__


def fits(value: object, room: int = MAX_DEPTH, scalars: frozenset[type] = SCALARS) -> bool:
    """Whether a value of plain types is inside the model, `room` containers deep at most.

    `scalars` are the types that are as they stand, besides numbers: all, or `TEXTUAL` for those without binary data.
    False says only that the quick look was not enough: `lower` decides. Text is not searched for lone
    surrogates, because the encoder finds them anyway.
    """
    kind = type(value)
    if kind is dict:
        if not room:
            return False
        if len(value) > _WIDE:  # type: ignore[arg-type]  # mypy does not narrow by `type(x) is`
            return _fits_by_level(value, room, scalars)
        for key, item in value.items():  # type: ignore[attr-defined]  # mypy does not narrow by `type(x) is`
            if type(key) is not str:
                return False
            kind = type(item)
            if kind is str:
                continue
            if kind is int:
                if MIN_INTEGER <= item <= MAX_INTEGER:
                    continue
                return False
            if kind in scalars:
                continue
            if not fits(item, room - 1, scalars):
                return False
        return True
    if kind is list or kind is tuple:
        if not room:
            return False
        if len(value) > _WIDE:  # type: ignore[arg-type]  # as above
            return _fits_by_level(value, room, scalars)
        for item in value:  # type: ignore[attr-defined]  # as above
            kind = type(item)
            if kind in scalars:
                continue
            if kind is int:
                if MIN_INTEGER <= item <= MAX_INTEGER:
                    continue
                return False
            if not fits(item, room - 1, scalars):
                return False
        return True
    if kind is int:
        return MIN_INTEGER <= value <= MAX_INTEGER  # type: ignore[operator]  # as above
    if kind is float:
        return isfinite(value)  # type: ignore[arg-type]  # as above
    return kind in scalars


def _fits_by_level(value: object, room: int, scalars: frozenset[type]) -> bool:
    """`fits` for a container with many entries: all containers of one depth at once, so that C does most of it."""
    level: list[Any] = [value]
    while True:
        found = {*map(type, level)}
        kinds = found - scalars
        if not kinds <= _INNER:
            return False
        if int in kinds:
            numbers = _those(level, found, _INTEGERS)
            if min(numbers) < MIN_INTEGER or max(numbers) > MAX_INTEGER:
                return False
        if float in kinds and not all(map(isfinite, _those(level, found, _FLOATS))):
            return False
        if kinds.isdisjoint(_CONTAINERS):
            return True
        if not room or len(level) > _MOST:
            return False
        room -= 1
        mappings = [each for each in _those(level, found, _MAPPINGS) if each] if dict in kinds else []
        if not {*map(type, chain.from_iterable(mappings))} <= _KEYS:
            return False
        arrays = _those(level, found, _ARRAYS) if kinds & _ARRAYS else []
        level = [*chain.from_iterable(arrays), *chain.from_iterable(map(dict.values, mappings))]


def _those(level: list[Any], found: set[type], wanted: frozenset[type]) -> list[Any]:
    """The values of the wanted types among those of the types found."""
    return level if found <= wanted else [each for each in level if type(each) in wanted]


def check_value(value: object, *, where: str = "$", room: int = MAX_DEPTH) -> None:
    """Raise `InvalidMessage` unless a value of plain types is inside the model; `where` names the value."""
    try:
        _plain(value, room, foreign=False)
    except _Misfit as misfit:
        raise InvalidMessage(f"{where}{misfit.place}: {misfit.problem}") from None


def lower(value: object, *, where: str = "$", room: int = MAX_DEPTH) -> object:
    """The value in plain types, ready for any encoder; `InvalidMessage` names the place that has none."""
    try:
        return _plain(value, room, foreign=True)
    except _Misfit as misfit:
        raise InvalidMessage(f"{where}{misfit.place}: {misfit.problem}") from None


def _plain(value: object, room: int, *, foreign: bool) -> object:
    kind = type(value)
    if kind is str:
        return _text(value)  # type: ignore[arg-type]  # as above
    if kind is int:
        if MIN_INTEGER <= value <= MAX_INTEGER:  # type: ignore[operator]  # as above
            return value
        raise _Misfit("expected an integer from -2**63 to 2**63 - 1, got one beyond")
    if kind is float:
        if isfinite(value):  # type: ignore[arg-type]  # as above
            return value
        raise _Misfit(f"expected a finite number, got {value}; null or a string can say it")
    if kind in SCALARS:
        return value
    if kind is dict or (foreign and isinstance(value, Mapping)):
        return _object(value, room, foreign=foreign)  # type: ignore[arg-type]  # as above
    if kind is list or kind is tuple:
        return _array(value, room, foreign=foreign)  # type: ignore[arg-type]  # as above
    if not foreign:
        raise _Misfit(f"a value of type {kind.__name__} is outside the data model")
    return _plain(_builtins(value), room, foreign=True)


def _object(value: Mapping[object, object], room: int, *, foreign: bool) -> dict[str, object]:
    if not room:
        raise _Misfit(f"nested more than {MAX_DEPTH} deep")
    plain: dict[str, object] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise _Misfit(f"expected string keys, got the {type_name(key)} {key!r:.40}")
        try:
            plain[_text(str.__str__(key))] = _plain(item, room - 1, foreign=foreign)
        except _Misfit as misfit:
            raise misfit.inside(f".{key!a}"[:80] if not key.isidentifier() else f".{key:.80}") from None
    return plain


def _array(value: list[object] | tuple[object, ...], room: int, *, foreign: bool) -> list[object]:
    if not room:
        raise _Misfit(f"nested more than {MAX_DEPTH} deep")
    plain = []
    for index, item in enumerate(value):
        try:
            plain.append(_plain(item, room - 1, foreign=foreign))
        except _Misfit as misfit:
            raise misfit.inside(f"[{index}]") from None
    return plain


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _Misfit(f"a lone surrogate at character {error.start} cannot be written as UTF-8") from None
    return text


def _builtins(value: object) -> object:
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    try:
        plain: object = to_builtins(value, builtin_types=(bytes, datetime), enc_hook=_foreign)
    except RecursionError:
        raise _Misfit(f"nested more than {MAX_DEPTH} deep") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise _Misfit(f"a value of type {type(value).__name__} cannot be encoded ({error})") from None
    if type(plain) is type(value):
        raise _Misfit(f"a value of type {type(value).__name__} cannot be encoded")
    return plain


def _foreign(value: object) -> object:
    """What the encoder library does not know by itself: mappings, and subclasses of the scalar types."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"no wire form for {type(value).__name__}")
