"""Addresses: `subsystem://segment/…`, and the patterns that routes are registered under."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from mycelia.errors import InvalidPath, RouteError

__all__ = ["Pattern", "bind", "canonical", "check_path", "decode", "fill", "subsystem_of", "valid_name"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*", re.ASCII)
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_ESCAPE = re.compile(r"[%{}]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
REST = "*"


def valid_name(name: object) -> bool:
    """Whether `name` may name a subsystem: a letter, then letters, digits, `_`, `.`, `-`."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def subsystem_of(path: str) -> str:
    """The part before `://`; raises InvalidPath when the path does not start like one."""
    name, mark, _ = path.partition("://")
    if not mark or not valid_name(name):
        raise InvalidPath(path, "expected subsystem://segment/…")
    return name


def _refuse(path: str, what: str, value: str) -> str:
    """The value, unless a path parameter may not have it."""
    if not value:
        raise InvalidPath(path, f"{what} is empty")
    if value == "." or value == "..":
        raise InvalidPath(path, f"{what} may not be {value!r}")
    if "/" in value or "\\" in value or "\0" in value:
        raise InvalidPath(path, f"{what} may not hold a slash, a backslash or NUL")
    return value


def decode(path: str, name: str, segment: str) -> str:
    """The value of parameter `name`: the segment, percent-decoded once, refused if it could mislead."""
    if segment.isalnum():  # nothing to decode and nothing to refuse, as nearly always
        return segment
    if "{" in segment or "}" in segment:
        raise InvalidPath(path, f"parameter {name!r} is still {segment!r}; fill it in before sending")
    value = segment
    if "%" in segment:
        try:
            value = unquote_to_bytes(segment).decode()
        except UnicodeDecodeError as fault:
            raise InvalidPath(path, f"parameter {name!r} is not UTF-8 when decoded") from fault
        if _BAD_ESCAPE.search(segment):
            raise InvalidPath(path, f"parameter {name!r}: expected two hexadecimal digits after every '%'")
    return _refuse(path, f"parameter {name!r}", value)


def check_path(path: str) -> None:
    """Raises InvalidPath unless `path` is `subsystem://segment/…` without empty or dotted segments."""
    name = subsystem_of(path)
    for segment in path[len(name) + 3 :].split("/"):
        _refuse(path, "a segment", segment)


def fill(path: str, body: Any) -> tuple[str, dict[str, str]]:
    """A client's path with its `{name}` segments filled from the body, and the values by name.

    What is filled in is escaped just so far that the one decoding of the router gives the very value
    back, so `a%2Fb` stays those five characters and the filled path is an ordinary path: exact routes,
    permissions and logs see it as such. Raises InvalidPath for what is missing, of another type than
    `str`, `int` or `bool`, or forbidden in a segment.
    """
    if "{" not in path and "}" not in path:
        return path, {}
    owner, mark, tail = path.partition("://")
    if not mark or "{" in owner or "}" in owner:
        raise InvalidPath(path, "expected subsystem://segment/…")
    values: dict[str, str] = {}
    segments = tail.split("/")
    for index, segment in enumerate(segments):
        if "{" not in segment and "}" not in segment:
            continue
        name = segment[1:-1]
        if segment[0] != "{" or segment[-1] != "}" or not (name.isidentifier() and name.isascii()):
            raise InvalidPath(path, f"expected a whole segment {{name}}, got {segment!r}")
        value = values[name] = _field(path, name, body)
        segments[index] = value if value.isalnum() else _ESCAPE.sub(_escape, value)
    return f"{owner}://{'/'.join(segments)}", values


def canonical(path: str) -> str:
    """The one spelling of a path whose parameters are good: what need not be percent-encoded is not.

    It is the spelling that `fill` makes. Else whoever judges by the path could be told `app://%61dmin`.
    """
    owner, mark, tail = path.partition("://")
    segments = [_ESCAPE.sub(_escape, unquote_to_bytes(each).decode()) for each in tail.split("/")]
    return f"{owner}{mark}{'/'.join(segments)}"


def _field(path: str, name: str, body: Any) -> str:
    """The body's field as the text of a segment."""
    if not isinstance(body, dict) or name not in body:
        raise InvalidPath(path, f"the body has no field {name!r} to fill {{{name}}} with")
    field = body[name]
    if isinstance(field, str):
        return field if field.isalnum() else _refuse(path, f"field {name!r}", field)
    if field is True or field is False:
        return "true" if field else "false"
    if isinstance(field, int):
        return str(field)
    kind = type(field).__name__
    raise InvalidPath(path, f"field {name!r}: expected a string, an integer or a boolean, got {kind}")


def _escape(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a route is registered under: literal segments, `{param}` segments, and perhaps a last `*`.

    In `segments` a parameter is None, because patterns that differ in nothing but the names of their
    parameters are one and the same to the router.
    """

    text: str
    subsystem: str
    segments: tuple[str | None, ...]
    names: tuple[str, ...]
    rest: bool

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """The pattern that `text` spells; raises RouteError saying what is wrong with it."""
        if not isinstance(text, str):
            raise RouteError(str(text), f"expected a string, got {type(text).__name__}")
        owner, mark, tail = text.partition("://")
        if not mark or not valid_name(owner):
            raise RouteError(text, "expected subsystem://segment/{param}/…")
        segments: list[str | None] = []
        names: list[str] = []
        parts = tail.split("/")
        rest = parts[-1] == REST
        for part in parts[:-1] if rest else parts:
            if found := _PARAMETER.fullmatch(part):
                if found[1] in names:
                    raise RouteError(text, f"parameter {found[1]!r} occurs twice")
                names.append(found[1])
                segments.append(None)
            elif "{" in part or "}" in part:
                raise RouteError(text, f"a parameter is a whole segment such as {{name}}, got {part!r}")
            elif part == REST:
                raise RouteError(text, "'*' may only be the last segment")
            elif not part or part in (".", "..") or "\\" in part or "\0" in part:
                raise RouteError(text, f"{part!r} may not be a segment")
            else:
                segments.append(part)
        return cls(text, owner, tuple(segments), tuple(names), rest)

    @property
    def literal(self) -> bool:
        """Whether it stands for one path only."""
        return not self.names and not self.rest

    @property
    def shape(self) -> tuple[str, tuple[str | None, ...], bool]:
        """What tells it apart from other patterns."""
        return self.subsystem, self.segments, self.rest


def bind(pattern: Pattern, path: str, values: list[str]) -> dict[str, str]:
    """The parameters of a path that matched, decoded once; what `*` took is joined under the key `*`."""
    names = pattern.names
    if not pattern.rest and len(names) == 1:
        return {names[0]: decode(path, names[0], values[0])}
    params = {name: decode(path, name, value) for name, value in zip(names, values, strict=False)}
    if pattern.rest:
        params[REST] = "/".join(decode(path, REST, value) for value in values[len(names) :])
    return params
