"""Call plans: a handler's signature, read once at registration, and what to pass for each parameter."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import partial
from math import isfinite
from types import SimpleNamespace
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import convert as _convert

from mycelia.errors import InvalidBody, InvalidPath, RouteError, SignatureError
from mycelia.kernel.routing.coercion import FromText, text_converter
from mycelia.kernel.routing.path import Pattern

__all__ = ["RESERVED", "Call", "Parameter", "Plan", "compile_plan"]

Call = Callable[[Any, Any, Any], Any]
"""`(message, params, options)` → a value, or an awaitable of one."""

RESERVED = ("message", "params", "options", "connection", "body")
Source = Literal["message", "params", "options", "connection", "body", "path", "default"]
TRIPLE: tuple[Source, ...] = ("message", "params", "options")
_EMPTY = inspect.Parameter.empty
_AT = re.compile(r" - at `([^`]*)`(?: in `([^`]*)`)?$")
_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_AS_IS = (_EMPTY, Any, object)
_MAPPINGS = (dict, Mapping, MutableMapping)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a handler: where its value comes from and what it must be."""

    name: str
    source: Source
    annotation: Any
    required: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """How to call a handler with `(message, params, options)`.

    `is_async` says that `call` always returns an awaitable. `parameters` and `returns` are for
    documentation.
    """

    call: Call
    is_async: bool
    parameters: tuple[Parameter, ...]
    returns: Any = Any


def compile_plan(handler: Callable[..., Any], pattern: Pattern | str) -> Plan:
    """The plan for `handler` under `pattern`; raises SignatureError when the two do not fit.

    If no parameter is annotated and none bears a reserved name or that of a path parameter, up to three
    positional ones get `(message, params, options)`. Otherwise each is bound by name.
    """
    if isinstance(pattern, str):
        pattern = Pattern.parse(pattern)
    for name in pattern.names:
        if name in RESERVED:
            raise SignatureError(
                pattern.text, name, f"may not have a reserved name; choose other than {', '.join(RESERVED)}"
            )
    if not callable(handler):
        raise RouteError(pattern.text, f"expected a callable handler, got {type(handler).__name__}")
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError) as fault:
        raise RouteError(pattern.text, f"the signature of {handler!r} cannot be read: {fault}") from fault
    returns = getattr(_function(handler)[1], "__annotations__", {}).get("return", Any)
    known = {*RESERVED, *pattern.names}
    if any(each.annotation is not _EMPTY or each.name in known for each in parameters):
        bound, arguments, names = _bind_by_name(handler, pattern, parameters)
    else:
        bound, arguments, names = _bind_triple(pattern, parameters)
    call = handler if arguments == list(TRIPLE) else _generate(handler, arguments, names)
    return Plan(call, inspect.iscoroutinefunction(_function(handler)[0]), tuple(bound), returns)


def _bind_triple(
    pattern: Pattern, parameters: list[inspect.Parameter]
) -> tuple[list[Parameter], list[str], dict[str, Any]]:
    """The plain handler `(message, params, options)`, under whatever names."""
    bound: list[Parameter] = []
    for each in parameters:
        if each.kind is each.VAR_POSITIONAL:
            bound += [Parameter(source, source, Any, True) for source in TRIPLE[len(bound) :]]
        elif each.kind is each.VAR_KEYWORD:
            if not bound:
                raise SignatureError(pattern.text, f"**{each.name}", _VARIADIC)
        elif each.kind is not each.KEYWORD_ONLY and len(bound) < len(TRIPLE):
            source = TRIPLE[len(bound)]
            bound.append(Parameter(each.name, source, Any, each.default is _EMPTY))
        elif each.default is _EMPTY:
            raise SignatureError(pattern.text, each.name, _unknown(pattern))
    return bound, [each.source for each in bound], {}


def _bind_by_name(
    handler: Callable[..., Any], pattern: Pattern, parameters: list[inspect.Parameter]
) -> tuple[list[Parameter], list[str], dict[str, Any]]:
    """Each parameter by its name: reserved, of the path, or left to its default."""
    bound: list[Parameter] = []
    arguments: list[str] = []
    names: dict[str, Any] = {}
    skipped = False
    for each in parameters:
        name, path = each.name, pattern.text
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            mark = "*" if each.kind is each.VAR_POSITIONAL else "**"
            raise SignatureError(path, mark + name, _VARIADIC)
        if name not in RESERVED and name not in pattern.names:
            if each.default is _EMPTY:
                raise SignatureError(path, name, _unknown(pattern))
            bound.append(Parameter(name, "default", each.annotation, False))
            skipped = True
            continue
        if skipped and each.kind is each.POSITIONAL_ONLY:
            raise SignatureError(path, name, "is positional-only and follows one that cannot be bound")
        annotation = each.annotation
        if name in pattern.names:
            annotation = _resolve(handler, path, each)
            expression = f"convert_{name}(params[{name!r}], message)"
            names[f"convert_{name}"] = _path_converter(name, annotation)
            if annotation is _EMPTY or annotation is str:
                expression = f"params[{name!r}]"
            bound.append(Parameter(name, "path", annotation, True))
        elif name == "body":
            annotation = _resolve(handler, path, each)
            convert = _body_converter(annotation, each.default)
            expression = "message.body" if convert is None else "convert_body(message.body)"
            names["convert_body"] = convert
            bound.append(Parameter(name, "body", annotation, each.default is _EMPTY))
        else:
            expression = "options.connection" if name == "connection" else name
            bound.append(Parameter(name, cast(Source, name), annotation, each.default is _EMPTY))
        by_keyword = skipped or each.kind is each.KEYWORD_ONLY
        arguments.append(f"{name}={expression}" if by_keyword else expression)
    return bound, arguments, names


_VARIADIC = "collects whatever it is given, which cannot be bound by name; name what the handler needs"


def _unknown(pattern: Pattern) -> str:
    of_path = f" or the path's {', '.join(pattern.names)}" if pattern.names else ""
    return f"cannot be bound: expected {', '.join(RESERVED)}{of_path}, or give it a default"


def _generate(handler: Callable[..., Any], arguments: list[str], names: Mapping[str, Any]) -> Call:
    """A function of exactly this call.

    It is generated, as dataclasses generate `__init__`, because a loop over the parameters would cost
    more than most handlers do. Only identifiers that the path grammar admitted get into the source.
    """
    namespace: dict[str, Any] = {**names, "handler": handler}
    source = f"def call(message, params, options):\n    return handler({', '.join(arguments)})\n"
    exec(source, namespace)
    call: Call = namespace["call"]
    return call


def _function(handler: Callable[..., Any]) -> tuple[Any, Any]:
    """What is called below partials and callable objects, and the function below its decorators."""
    inner: Any = handler
    while isinstance(inner, partial):
        inner = inner.func
    if not inspect.isroutine(inner) and not inspect.isclass(inner):
        inner = type(inner).__call__
    return inner, inspect.unwrap(getattr(inner, "__func__", inner))


def _resolve(handler: Callable[..., Any], path: str, parameter: inspect.Parameter) -> Any:
    """The annotation as a type that msgspec understands.

    Only those that are needed are evaluated, so the type of `connection` may be known to type checkers
    alone.
    """
    annotation = parameter.annotation
    if annotation is _EMPTY:
        return annotation
    function = _function(handler)[1]
    cells = zip(
        getattr(getattr(function, "__code__", None), "co_freevars", ()),
        getattr(function, "__closure__", None) or (),
        strict=True,
    )
    try:
        local = {name: cell.cell_contents for name, cell in cells}
        holder = SimpleNamespace(__annotations__={parameter.name: annotation})
        hints = get_type_hints(holder, getattr(function, "__globals__", {}), local, include_extras=True)
        annotation = hints[parameter.name]
        msgspec.inspect.type_info(annotation)
    except Exception as fault:
        raise SignatureError(path, parameter.name, f"has an unusable annotation: {fault}") from fault
    return annotation


def _path_converter(name: str, annotation: Any) -> Callable[[str, Any], Any]:
    def integer(value: str, message: Any) -> Any:
        # Plain digits, boundedly many, and not what int() would also take: "1_000", " 1 ".
        if (value.isdecimal() and value.isascii() and len(value) < 19) or _INTEGER.fullmatch(value):
            return int(value)
        raise InvalidPath(message.path, f"parameter {name!r}: expected an integer, got {value!r}")

    def other(value: str, message: Any) -> Any:
        try:
            found = _convert(value, annotation, strict=False)
        except msgspec.ValidationError as fault:
            raise InvalidPath(message.path, f"parameter {name!r}: {fault}") from fault
        if type(found) is float and not isfinite(found):
            raise InvalidPath(message.path, f"parameter {name!r}: expected a finite number, got {value!r}")
        return found

    return integer if annotation is int else other


def _body_converter(annotation: Any, default: Any) -> Callable[[Any], Any] | None:
    """What validates a body, or None when it passes as it is. An absent body takes the default."""
    passes = annotation in _AS_IS
    if passes and default is _EMPTY:
        return None
    loose = get_origin(annotation) in _MAPPINGS and get_args(annotation) in ((str, Any), (str, object))
    if annotation in _MAPPINGS or loose:
        annotation = dict
    from_text = text_converter(annotation)

    def validate(body: Any) -> Any:
        try:
            return from_text(body) if type(body) is FromText else _convert(body, annotation)
        except msgspec.ValidationError as fault:
            problem, at = str(fault), "$"
            if found := _AT.search(problem):
                problem, at = problem[: found.start()], found[2] or found[1]
            raise InvalidBody(problem, at) from fault

    def shortcut(body: Any) -> Any:
        if body is None and default is not _EMPTY:
            return default
        # A mapping without further annotation is handed over, not copied.
        return body if passes or type(body) is annotation else validate(body)

    return validate if default is _EMPTY and annotation is not dict else shortcut
