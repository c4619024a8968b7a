"""The identity of a client: the result of a successful authentication."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from types import MappingProxyType
from typing import Any, TypeGuard

__all__ = ["Identity", "is_subject"]


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated subject, its permissions, and the time when it expires.

    An identity is the principal of the client's messages. It never holds the credential itself.

    Attributes:
        subject: The name of the subject.
        permissions: The permissions of the subject.
        claims: Anything else that the credential states about the subject.
        expires_at: The end of the identity in seconds since the epoch; None if it does not expire.

    Raises:
        ValueError: The subject, the permissions or the expiry is invalid.
    """

    subject: str
    permissions: Collection[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)
    expires_at: float | None = None

    def __post_init__(self) -> None:
        if not is_subject(self.subject):
            raise ValueError("expected a subject that is a string, not empty and without a lone surrogate")
        if isinstance(self.permissions, (str, Mapping)) or not isinstance(self.permissions, Iterable):
            raise ValueError(f"expected permissions as a set of strings, got {type(self.permissions).__name__}")
        held = frozenset(self.permissions)
        if not all(isinstance(each, str) for each in held):
            raise ValueError("expected every permission as a string")
        expires_at: object = self.expires_at
        if expires_at is not None and (
            isinstance(expires_at, bool) or not isinstance(expires_at, (int, float)) or not isfinite(expires_at)
        ):
            raise ValueError("expected expires_at in seconds since the epoch, or None")
        object.__setattr__(self, "permissions", held)
        object.__setattr__(self, "claims", MappingProxyType(dict(self.claims)))

    @property
    def id(self) -> str:
        """Return the subject. Principals have it under this name."""
        return self.subject


def is_subject(given: object) -> TypeGuard[str]:
    """Return True for a valid subject: a string that is not empty and that UTF-8 can encode.

    JSON can contain a lone surrogate, which UTF-8 cannot encode.
    """
    return isinstance(given, str) and given != "" and not any("\ud800" <= each <= "\udfff" for each in given)
