"""Resolve old module paths and old names, and warn with the new path."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

from mycelia._deprecated.modules import MODULES, PACKAGES
from mycelia._deprecated.names import NAMES

__all__ = ["forward_old_names", "install_aliases"]


class _AliasFinder:
    """A finder and loader of old module paths; the last on `sys.meta_path`, so that it never hides a real module."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec if `fullname` is an old module path, else None."""
        if not fullname.startswith("mycelia.") or (fullname not in MODULES and fullname not in PACKAGES):
            return None
        # A loader needs no base class. `importlib.abc`, which has it, would make `import mycelia` slower.
        return ModuleSpec(fullname, self, is_package=fullname in PACKAGES)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Let the import system create the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Import the new module, and forward the names of the old one to it."""
        old = module.__name__
        new = MODULES.get(old)
        if new is not None:
            target = import_module(new)
            vars(module)["__doc__"] = target.__doc__
            vars(module)["__all__"] = list(getattr(target, "__all__", ()))
            warnings.warn(f"{old} has moved and will be removed in 0.2; import {new}", DeprecationWarning, stacklevel=2)
        forward_old_names(old)


def install_aliases() -> None:
    """Make old module paths importable; a second call changes nothing."""
    if not any(isinstance(finder, _AliasFinder) for finder in sys.meta_path):
        sys.meta_path.append(_AliasFinder())


def forward_old_names(module_name: str) -> None:
    """Make the old names of a module available as its attributes, by a module-level `__getattr__` (PEP 562).

    The function is set at run time. Type checkers therefore still report names that do not exist. Call this below an
    own `__getattr__` of the module, which stays responsible for all other names.
    """
    module = sys.modules[module_name]
    previous = vars(module).get("__getattr__")

    def __getattr__(name: str) -> object:
        target = _target(module_name, name)
        if target is not None:
            new_module, _, new_name = target.partition(":")
            value: object = getattr(import_module(new_module), new_name)
            warnings.warn(
                f"{module_name}.{name} will be removed in 0.2; import {new_name} from {new_module}",
                DeprecationWarning,
                stacklevel=2,
            )
            return value
        if previous is not None:
            fallback: object = previous(name)
            return fallback
        raise AttributeError(f"module {module_name!r} has no attribute {name!r}")

    vars(module)["__getattr__"] = __getattr__


def _target(module_name: str, name: str) -> str | None:
    """Return the new place of a name as `module:name`, or None if the name is not an old one."""
    if name.startswith("__"):  # tools look for `__path__`, `__wrapped__` and others in every module
        return None
    target = NAMES.get(f"{module_name}:{name}")
    if target is None and module_name in MODULES:
        target = f"{MODULES[module_name]}:{name}"
    return target
