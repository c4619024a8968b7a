"""The rule for docstrings of public functions, those of `tools.prose.public_api`.

`public-docstring`: the docstring of a public function has

- an entry in `Args:` for each parameter;
- a `Returns:` section (or `Yields:`), or a summary that starts with "Return" or "Yield", if it returns a value;
- each exception in `Raises:` that its body raises by name.

Properties, setters and overloads are exempt, as are methods without a docstring: those override a documented one,
which ruff's `D102` checks.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from tools.prose.docstrings import sections
from tools.prose.model import Finding

__all__ = ["check_public_docstrings"]

_Function = ast.FunctionDef | ast.AsyncFunctionDef

_RETURNS_NOTHING = frozenset({"None", "NoReturn", "Never"})
_EXEMPT = re.compile(r"(?:.*\.)?(?:property|cached_property|overload|setter|deleter)$")
_NAME = re.compile(r"\*{0,2}`?(\w+)`?(?:\s*\([^()]*\))?:", re.MULTILINE)


def check_public_docstrings(
    path: Path, tree: ast.Module, module: str, public: Collection[tuple[str, str]]
) -> Iterator[Finding]:
    """Yield what the docstrings of a module's public functions lack.

    Args:
        path: The file.
        tree: Its syntax tree.
        module: The module's dotted name.
        public: The public functions, each as module and qualified name.
    """
    for name, function in _functions(tree.body, ""):
        docstring = ast.get_docstring(function)
        if (module, name) in public and docstring and not any(map(_is_exempt, function.decorator_list)):
            for advice in _lacks(function, docstring):
                yield Finding(path, function.lineno, "public-docstring", f"def {name}", advice)


def _functions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, _Function]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{prefix}{node.name}.")


def _is_exempt(decorator: ast.expr) -> bool:
    return _EXEMPT.match(ast.unparse(decorator)) is not None


def _lacks(function: _Function, docstring: str) -> Iterator[str]:
    parts = {name: text for name, _, text in sections(docstring)}
    listed = set(_NAME.findall(parts.get("Args", "")))
    missing = [name for name in _parameters(function) if name not in listed]
    if missing:
        yield f"expected an `Args:` entry for each parameter; missing: {', '.join(missing)}"
    if _returns_a_value(function) and not (
        {"Returns", "Yields"} & parts.keys() or re.match(r"(?:Return|Yield)s?\b", docstring)
    ):
        yield 'expected a `Returns:` section, or a summary that starts with "Return"'
    raises = parts.get("Raises", "")
    unnamed = [name for name in _raised(function) if not re.search(rf"\b{name}\b", raises)]
    if unnamed:
        yield f"expected a `Raises:` entry for each exception that the body raises; missing: {', '.join(unnamed)}"


def _parameters(function: _Function) -> Iterator[str]:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    for parameter in [*positional, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]:
        if parameter is not None and not parameter.arg.startswith("_") and parameter.arg not in ("self", "cls"):
            yield parameter.arg


def _returns_a_value(function: _Function) -> bool:
    return function.returns is not None and ast.unparse(function.returns) not in _RETURNS_NOTHING


def _raised(function: _Function) -> list[str]:
    """Return the names of the exceptions that a function raises itself, but for those that it catches again."""
    caught = {
        ast.unparse(kind).split(".")[-1]
        for node in _own(function.body)
        if isinstance(node, ast.ExceptHandler) and node.type is not None
        for kind in (node.type.elts if isinstance(node.type, ast.Tuple) else [node.type])
    }
    names = dict.fromkeys(
        name
        for node in _own(function.body)
        if isinstance(node, ast.Raise) and node.exc is not None
        for name in [ast.unparse(node.exc.func if isinstance(node.exc, ast.Call) else node.exc).split(".")[-1]]
        if re.fullmatch(r"[A-Z]\w+", name)
    )
    return [name for name in names if name not in caught | {"NotImplementedError"}]


def _own(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Yield the nodes of a body, without those of functions and classes inside it."""
    pending: list[ast.AST] = list(body)
    while pending:
        node = pending.pop(0)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield node
            pending = [*ast.iter_child_nodes(node), *pending]
