"""What an authenticator found out about a peer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from inspect import isawaitable
from math import isfinite
from types import MappingProxyType
from typing import Any, TypeGuard

from mycelia.errors import Unauthorized

__all__ = ["Identity", "identity_by", "is_subject"]


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


async def identity_by(callback: Callable[[str], object], value: str, what: str, unknown: str) -> Identity:
    """Whom an application's callback, which may be async, names for a value.

    Raises Unauthorized (`unknown`) where it returns None, and TypeError, which refuses as well, for anything else.
    """
    found = callback(value)
    given = await found if isawaitable(found) else found
    if isinstance(given, Identity):
        return given
    if given is None:
        raise Unauthorized(unknown)
    raise TypeError(f"expected {what} to return an Identity or None, got {type(given).__name__}")
