"""Who sends a message, with whose rights, and what a handler learns about it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, Protocol

__all__ = ["Caller", "Options", "Principal"]

_ALIASES = {"connectionId": "connection_id"}


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a message: the system itself, a subsystem, or a client by its connection id."""

    kind: Literal["system", "subsystem", "client"]
    name: str


class Principal(Protocol):
    """An authenticated caller. Anything with these two attributes will do."""

    @property
    def id(self) -> str: ...

    @property
    def permissions(self) -> Collection[str]: ...


class Options:
    """The third thing a handler gets: the connection, the caller and the principal.

    One object serves every message of a connection, so it never holds anything of a single message.
    `origin` is the caller at the start of a chain of sends; it is what keeps an unknown client from
    reaching a protected route by way of a subsystem. It can be read like a mapping, and under the
    names `connectionId` and `connection_id` alike.
    """

    __slots__ = ("caller", "connection", "connection_id", "origin", "principal")

    def __init__(
        self,
        *,
        caller: Caller,
        connection: Any = None,
        connection_id: str | None = None,
        principal: Principal | None = None,
        origin: Caller | None = None,
    ) -> None:
        self.connection = connection
        self.connection_id = connection_id
        self.caller = caller
        self.principal = principal
        self.origin = caller if origin is None else origin

    @property
    def connectionId(self) -> str | None:  # the spelling of the wire
        return self.connection_id

    @property
    def principal_id(self) -> str:
        """Who the principal is; empty for none, and for one that has no name."""
        principal = self.principal
        return principal.id if principal is not None else ""

    def __getitem__(self, key: str) -> Any:
        name = _ALIASES.get(key, key)
        if name not in Options.__slots__:
            raise KeyError(key)
        return getattr(self, name)

    def __contains__(self, key: object) -> bool:
        return key in Options.__slots__ or key in _ALIASES

    def get(self, key: str, default: Any = None) -> Any:
        """The value under `key`; `default` when there is none or it is None."""
        value = getattr(self, _ALIASES.get(key, key), None) if key in self else None
        return default if value is None else value

    def limited(self) -> None:
        """A rate limit has just refused a message of this caller; whoever keeps its connection may count that."""

    def __repr__(self) -> str:
        return f"Options(caller={self.caller!r}, connection_id={self.connection_id!r})"
