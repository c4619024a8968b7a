"""The strings of Python source that become error and log messages.

A message is a string, an f-string, or a `%` or `format` template among the arguments of

- `raise X(…)`, and calls of classes whose names end in Error, Exception, Fault or Warning;
- `logger.warning(…)` and the other log methods, and `warnings.warn(…)`.

An argument may also be a name to which the module assigns such a string.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tools.prose.sentences import MASK

__all__ = ["messages", "other_sentences", "text_of"]

_LOG_METHODS = frozenset({"critical", "debug", "error", "exception", "info", "log", "warning"})
_ERROR = re.compile(r"(?:.*\.)?_?[A-Z]\w*(?:Error|Exception|Fault|Warning)$")
_PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[-+ #0]*\d*(?:\.\d+)?[srdifgxX]|\{\w*(?:[.!:][^{}]*)?\}")
_SEVERAL_WORDS = re.compile(rf"[\w{MASK}]\s+\S*[\w{MASK}]")
_SENTENCE_LIKE = re.compile(r"^(?:[\w'’\"(]+[\w'’\",;:.()-]*\s+){4,}\S+$")


def messages(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield the messages of a module that have at least two words, each once."""
    assigned: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            assigned.setdefault(node.targets[0].id, []).append(node.value)
    found = set[int]()
    for node in ast.walk(tree):
        for argument in _arguments(node):
            for part in _strings(argument, assigned):
                if id(part) not in found and _SEVERAL_WORDS.search(text_of(part)):
                    found.add(id(part))
                    yield part


def other_sentences(tree: ast.Module, skipped: set[int]) -> Iterator[ast.expr]:
    """Yield the strings with five words or more that are not among the nodes with the ids `skipped`."""
    inside = set[int]()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in skipped | inside:
            if isinstance(node, ast.JoinedStr):
                inside.update(id(part) for part in node.values)
            if _SENTENCE_LIKE.match(text_of(node).strip()):
                yield node
        elif id(node) in skipped and isinstance(node, ast.JoinedStr):
            inside.update(id(part) for part in node.values)


def text_of(node: ast.expr) -> str:
    """Return a string or f-string with every interpolated value masked."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else MASK for part in node.values)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _PLACEHOLDER.sub(MASK, node.value)
    return ""


def _arguments(node: ast.AST) -> list[ast.expr]:
    call = node.exc if isinstance(node, ast.Raise) else node
    if not isinstance(call, ast.Call):
        return []
    name = ast.unparse(call.func)
    owner, _, method = name.rpartition(".")
    is_log = owner.lower().endswith(("log", "logger")) and method in _LOG_METHODS
    if call is not node or is_log or name == "warnings.warn" or _ERROR.match(name):
        return [*call.args, *(keyword.value for keyword in call.keywords)]
    return []


def _strings(node: ast.expr, assigned: dict[str, list[ast.expr]]) -> Iterator[ast.expr]:
    """Yield the strings that an argument may become."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        yield node
        return
    inner: list[ast.expr] = []
    match node:
        case ast.Name(id=name):
            yield from (part for value in assigned.get(name, []) for part in _strings(value, {}))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            inner = [left, right]
        case ast.BinOp(left=left, op=ast.Mod()):
            inner = [left]
        case ast.IfExp(body=body, orelse=orelse):
            inner = [body, orelse]
        case ast.BoolOp(values=values):
            inner = values
        case ast.Call(func=ast.Attribute(value=template, attr="format")):
            inner = [template]
    yield from (part for each in inner for part in _strings(each, assigned))
