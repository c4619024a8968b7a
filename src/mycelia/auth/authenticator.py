"""The interface of authenticators, the credentials that they check, and a chain of authenticators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from mycelia.auth.identity import Identity
from mycelia.errors import ConfigError, NoCredential

__all__ = ["TOKEN_BYTES", "Authenticator", "CanClose", "Credential", "FirstOf"]

TOKEN_BYTES = 8192
"""The maximum length of a token or cookie in characters. Head and query of a request are bounded by 16 KiB only."""


@dataclass(frozen=True, slots=True)
class Credential:
    """The credential that a client sent: a token, cookies, or nothing.

    The repr shows neither the token nor the cookies.

    Attributes:
        token: The token, or None.
        source: How the token came, such as "authorization" or "message"; None without a token.
        cookies: The cookies by name. They are empty unless the request has an allowed Origin, because a browser sends
            cookies for every page that makes a request.
    """

    token: str | None = field(default=None, repr=False)
    source: str | None = None
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def empty(self) -> bool:
        """Return True if the client sent neither a token nor cookies."""
        return self.token is None and not self.cookies

    def required_token(self) -> str:
        """Return the token.

        Raises:
            NoCredential: The credential has no token.
        """
        if self.token is None:
            raise NoCredential("no token was given")
        return self.token


class Authenticator(Protocol):
    """Checks credentials."""

    async def authenticate(self, credential: Credential) -> Identity:
        """Return the identity that a credential proves.

        Any exception that is not listed here is a failure of the server. It rejects the credential, too.

        Args:
            credential: The credential of the client.

        Raises:
            NoCredential: The credential is not of the kind that this authenticator checks.
            Unauthorized: The credential is invalid.
            Untimely: The credential is genuine, but has expired or is not valid yet.
            Unavailable: The authenticator cannot check the credential now.
        """
        ...


@runtime_checkable
class CanClose(Protocol):
    """An authenticator that holds resources, such as a task or a connection."""

    async def close(self) -> None:
        """Release the resources. The authenticator may be used again afterwards."""
        ...


class FirstOf:
    """A chain of authenticators; the first one that finds a credential of its kind decides.

    Args:
        authenticators: The authenticators, in the order in which they are asked.

    Raises:
        ConfigError: No authenticator was given.
    """

    def __init__(self, *authenticators: Authenticator) -> None:
        if not authenticators:
            raise ConfigError("authenticator", "expected FirstOf(…) of at least one authenticator")
        self._authenticators = authenticators

    async def authenticate(self, credential: Credential) -> Identity:
        """Return the identity from the first authenticator that does not raise NoCredential.

        Args:
            credential: The credential of the client.

        Raises:
            NoCredential: All authenticators raised NoCredential.
        """
        for each in self._authenticators:
            try:
                return await each.authenticate(credential)
            except NoCredential:
                continue
        raise NoCredential("no credential of a known kind was given")

    async def close(self) -> None:
        """Close each authenticator that has a `close` method."""
        for each in self._authenticators:
            if isinstance(each, CanClose):
                await each.close()
