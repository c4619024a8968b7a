"""What a facet must offer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import get_annotations
from typing import Any, Generic, Protocol

from mycelia.errors import ConfigError

__all__ = ["Contract"]


@dataclass(frozen=True, slots=True)
class Contract:
    """The methods and properties of a facet, and a check that returns a complaint or None.

    `Contract.of(SomeProtocol)` takes them from a `typing.Protocol`, so that one declaration serves the
    type checker and the builder alike.
    """

    name: str
    methods: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    check: Callable[[Any], str | None] | None = None

    @classmethod
    def of(cls, protocol: type, check: Callable[[Any], str | None] | None = None) -> Contract:
        """The contract that a Protocol class declares."""
        if not getattr(protocol, "_is_protocol", False):
            raise ConfigError("contract", f"expected a Contract or a typing.Protocol, got {protocol!r}")
        methods: dict[str, None] = {}
        properties: dict[str, None] = {}
        for base in reversed(protocol.__mro__):
            if base in (object, Protocol, Generic):
                continue
            for name in get_annotations(base):
                if not name.startswith("_"):
                    properties[name] = None
            for name, value in base.__dict__.items():
                if name.startswith("_"):
                    continue
                if callable(value):
                    methods[name] = None
                else:
                    properties[name] = None
        return cls(protocol.__name__, tuple(methods), tuple(properties), check)

    def complaint(self, facet: object) -> str | None:
        """What the facet lacks, in words; None when it fulfils the contract."""
        absent = [name for name in (*self.methods, *self.properties) if not hasattr(facet, name)]
        if absent:
            return f"contract {self.name} expects {', '.join(absent)}, which {type(facet).__name__} lacks"
        for name in self.methods:
            if not callable(getattr(facet, name)):
                return f"contract {self.name} expects {name} to be a method"
        said = None if self.check is None else self.check(facet)
        return None if said is None else f"contract {self.name}: {said}"
