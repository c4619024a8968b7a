"""The seam between a server and whoever can tell what a credential is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from mycelia.auth.identity import Identity
from mycelia.errors import ConfigError, NoCredential

__all__ = ["TOKEN_BYTES", "Authenticator", "CanClose", "Credential", "FirstOf"]

TOKEN_BYTES = 8192  # nothing longer is looked at: head and query are not bounded tighter than 16 KiB


@dataclass(frozen=True, slots=True)
class Credential:
    """What a peer showed: a token and the carrier it came in, and its cookies.

    Cookies are here only when the request had an Origin and that was allowed: a browser sends them along for every
    page that asks. Neither token nor cookies are in the repr.
    """

    token: str | None = field(default=None, repr=False)
    source: str | None = None
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to judge."""
        return self.token is None and not self.cookies

    def required_token(self) -> str:
        """The token. NoCredential when there is none."""
        if self.token is None:
            raise NoCredential("no token was given")
        return self.token


class Authenticator(Protocol):
    """Judges credentials."""

    async def authenticate(self, credential: Credential) -> Identity:
        """Who shows this credential.

        Raises NoCredential when there is none of the kind that it judges, Unauthorized for one that is not good,
        Untimely for one that was good or is going to be, and Unavailable when it cannot be judged now. Any other
        exception is a failure of the server and refuses as well.
        """
        ...


@runtime_checkable
class CanClose(Protocol):
    """An authenticator that holds something beyond its calls."""

    async def close(self) -> None:
        """Gives it back. It may be used again afterwards."""
        ...


class FirstOf:
    """Asks several authenticators in turn; the first that finds a credential of its kind decides."""

    def __init__(self, *authenticators: Authenticator) -> None:
        if not authenticators:
            raise ConfigError("authenticator", "expected FirstOf(…) of at least one authenticator")
        self._authenticators = authenticators

    async def authenticate(self, credential: Credential) -> Identity:
        """What the first says that does not raise NoCredential."""
        for each in self._authenticators:
            try:
                return await each.authenticate(credential)
            except NoCredential:
                continue
        raise NoCredential("no credential of any kind that is known here was given")

    async def close(self) -> None:
        """Closes those that can."""
        for each in self._authenticators:
            if isinstance(each, CanClose):
                await each.close()
