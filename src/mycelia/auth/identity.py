"""What an authenticator found out about a peer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from types import MappingProxyType
from typing import Any, TypeGuard

__all__ = ["Identity", "as_identity", "is_subject"]


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated subject, what it may do, and until when (seconds since the epoch; None for always).

    `claims` is whatever else the credential said. The credential itself is never in here. It serves as the principal
    of messages: `id` is the subject.
    """

    subject: str
    permissions: Collection[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)
    expires_at: float | None = None

    def __post_init__(self) -> None:
        if not is_subject(self.subject):
            raise ValueError("expected a subject that is a text, not empty and without half a surrogate pair")
        if isinstance(self.permissions, (str, Mapping)) or not isinstance(self.permissions, Iterable):
            raise ValueError(f"expected permissions as a set of texts, got {type(self.permissions).__name__}")
        held = frozenset(self.permissions)
        if not all(isinstance(each, str) for each in held):
            raise ValueError("expected every permission as a text")
        expires_at: object = self.expires_at
        if expires_at is not None and (
            isinstance(expires_at, bool) or not isinstance(expires_at, (int, float)) or not isfinite(expires_at)
        ):
            raise ValueError("expected expires_at in seconds since the epoch, or None")
        object.__setattr__(self, "permissions", held)
        object.__setattr__(self, "claims", MappingProxyType(dict(self.claims)))

    @property
    def id(self) -> str:
        """The subject, as principals call it."""
        return self.subject


def is_subject(given: object) -> TypeGuard[str]:
    """Whether somebody may be called so: a text that is not empty and can be sent (JSON can spell half a surrogate
    pair, UTF-8 cannot).
    """
    return isinstance(given, str) and given != "" and not any("\ud800" <= each <= "\udfff" for each in given)


def as_identity(given: object, callback: str) -> Identity:
    """What an application's callback answered. TypeError, which refuses, for anything but an Identity."""
    if isinstance(given, Identity):
        return given
    raise TypeError(f"expected {callback} to return an Identity or None, got {type(given).__name__}")
