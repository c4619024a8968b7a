"""How a section of a configuration is read: from a mapping in either spelling, every value checked.

A section is a frozen dataclass. In Python its keys are snake_case and its durations seconds; a mapping in the seed's
own keys is in the seed's units, milliseconds. An unknown key, or one key in both spellings, is a ConfigError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, fields
from typing import Any, TypeVar, get_type_hints

from mycelia.errors import ConfigError
from mycelia.scheduling.rate_limiter import Rate, RateLimiter

__all__ = ["below", "between", "check_fields", "mapping", "octal", "one_of_sections", "rate_of", "seconds", "section"]

_MILLISECONDS = {"unit": "milliseconds"}
_OCTAL = {"expected": "octal digits as a text, such as '660'"}
_HUGE = 2**64  # no number of a configuration is near; nan and infinity are not below it
_SPELLINGS = {"max_messages": "max_messages", "maxMessages": "max_messages", "window": "window", "windowMs": "window"}
_Section = TypeVar("_Section")


def seconds(default: Any) -> Any:
    """A field of a section that is seconds in Python and milliseconds under its camelCase name."""
    return field(default=default, metadata=_MILLISECONDS)


def octal(default: str) -> Any:
    """A field of a section that is permissions of a file, in octal digits as `chmod` takes them."""
    return field(default=default, metadata=_OCTAL)


def section(name: str, kind: type[_Section], given: Any) -> _Section:
    """The section that `given`, a mapping or the section itself, describes."""
    if isinstance(given, kind):
        return given
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    spellings = {_camel(key): key for key in known} | {key: key for key in known}
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in mapping(name, given).items():
        if key not in spellings:
            shown = ", ".join(sorted(_camel(key) for key in known))
            raise ConfigError(f"{name}.{key}", f"unknown key; known: {shown} (or in snake_case)")
        target = spellings[key]
        if target in values:
            raise ConfigError(f"{name}.{key}", f"given twice, as {target} and {_camel(target)}; give it once")
        value = _checked(f"{name}.{key}", value, hints[target], known[target].metadata)
        if key != target and known[target].metadata.get("unit") == "milliseconds":
            value /= 1000
        values[target] = value
    return kind(**values)


def check_fields(section: str, config: Any) -> None:
    """Every field in the type that it declares, however the section was written."""
    hints = get_type_hints(type(config))
    for entry in fields(config):
        given = getattr(config, entry.name)
        value = _checked(f"{section}.{entry.name}", given, hints[entry.name], entry.metadata)
        object.__setattr__(config, entry.name, value)


def _checked(key: str, value: Any, hint: Any, told: Mapping[str, Any]) -> Any:
    """The value in the type that the field declares; numbers are finite, lists become tuples."""
    if hint is bool:
        if not isinstance(value, bool):
            raise ConfigError(key, f"expected true or false, got {value!r}")
    elif hint is int or hint is float:
        number = (int,) if hint is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, number) or not abs(value) < _HUGE:
            raise ConfigError(key, f"expected a {'whole ' if hint is int else ''}number, got {value!r}")
        value = hint(value)
    elif hint is str:
        if not isinstance(value, str) or not value:
            raise ConfigError(key, f"expected {told.get('expected', 'a text')}, got {value!r}")
    elif hint == tuple[str, ...]:
        if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(v, str) for v in value):
            raise ConfigError(key, f"expected a list of texts, got {value!r}")
        value = tuple(value)
    elif "Callable" in str(hint) and not callable(value) and not (value is None and "None" in str(hint)):
        raise ConfigError(key, f"expected a function, got {value!r}")
    return value


def mapping(name: str, given: Any) -> Mapping[str, Any]:
    """`given`, which must be a mapping."""
    if not isinstance(given, Mapping):
        raise ConfigError(name, f"expected a mapping, got {type(given).__name__}")
    return given


def one_of_sections(name: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises unless every key of `given` is a known section."""
    for key in given:
        if key not in known:
            raise ConfigError(f"{name}.{key}", f"unknown section; known: {', '.join(known)}")


@contextmanager
def below(name: str) -> Iterator[None]:
    """What is wrong inside is wrong in a part of the section `name`: `tls.key` becomes `server.tls.key`."""
    try:
        yield
    except ConfigError as fault:
        raise ConfigError(f"{name}.{fault.key}", fault.problem) from None


def between(key: str, value: float, low: float, high: float, unit: str = "") -> None:
    """Raises unless `low <= value <= high`."""
    if not low <= value <= high:
        raise ConfigError(key, f"expected {low:g} to {high:g}{unit}, got {value:g}")


def rate_of(key: str, given: Any) -> Rate | None:
    """A rate, written as a Rate, as a RateLimiter, or as a mapping in either spelling; None for none."""
    if given is None or isinstance(given, Rate):
        return given
    if isinstance(given, RateLimiter):
        return given.rate
    values: dict[str, Any] = {}
    if not isinstance(given, Mapping):
        raise ConfigError(key, f"expected a Rate, a mapping of maxMessages and windowMs, or None; got {given!r}")
    for name, value in mapping(key, given).items():
        target = _SPELLINGS.get(name)
        if target is None:
            raise ConfigError(f"{key}.{name}", f"unknown key; known: {', '.join(_SPELLINGS)}")
        if target in values:
            raise ConfigError(f"{key}.{name}", "given twice; give it once")
        values[target] = value / 1000 if name == "windowMs" and isinstance(value, (int, float)) else value
    if len(values) < 2:
        raise ConfigError(key, "expected both maxMessages and windowMs (or max_messages and window)")
    with below(key):
        return Rate(**values)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
