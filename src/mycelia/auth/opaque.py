"""Tokens that only the application can read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable

from mycelia.auth.authenticator import Credential
from mycelia.auth.identity import Identity, as_identity
from mycelia.errors import ConfigError, Unauthorized

__all__ = ["TokenAuthenticator"]

Found = Identity | None


class TokenAuthenticator:
    """Gives the token to `callback(token)`, which returns an Identity, or None for a token that is not good.

    The callback may be async. Look tokens up by a digest of theirs, so that how long it takes says nothing about them.
    """

    def __init__(self, callback: Callable[[str], Found | Awaitable[Found]]) -> None:
        if not callable(callback):
            raise ConfigError("authenticator", f"expected TokenAuthenticator(function), got {callback!r}")
        self._callback = callback

    async def authenticate(self, credential: Credential) -> Identity:
        """Who holds the token."""
        found = self._callback(credential.required_token())
        identity = await found if isawaitable(found) else found
        if identity is None:
            raise Unauthorized("the token is not known")
        return as_identity(identity, "the token callback")
