"""The public functions: those that the packages for users export, and the methods of the classes they export.

This imports Mycelia, because only an import tells where a name comes from that an `__init__` exports lazily, and
which methods a class inherits from other modules of ours.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence

__all__ = ["PACKAGES", "public_functions"]

PACKAGES = ("mycelia", "mycelia.auth", "mycelia.server", "mycelia.testing", "mycelia.websocket")


def public_functions(packages: Sequence[str] = PACKAGES) -> frozenset[tuple[str, str]]:
    """Return the public functions and methods, each as its module and its qualified name."""
    found = set[tuple[str, str]]()
    for package in packages:
        module = importlib.import_module(package)
        for name in module.__all__:
            exported = getattr(module, name)
            if inspect.isclass(exported):
                for base in exported.__mro__:
                    found.update((base.__module__, f"{base.__qualname__}.{method}") for method in _methods(base))
            elif inspect.isfunction(exported):
                found.add((exported.__module__, exported.__qualname__))
    roots = {package.split(".")[0] for package in packages}
    return frozenset((module, name) for module, name in found if module.split(".")[0] in roots)


def _methods(cls: type) -> list[str]:
    return [name for name in vars(cls) if not name.startswith("_")]
