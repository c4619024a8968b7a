"""Tokens that only the application can read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mycelia.auth.authenticator import Credential
from mycelia.auth.identity import Identity, identity_by
from mycelia.errors import ConfigError

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
        token = credential.required_token()
        return await identity_by(self._callback, token, "the token callback", "the token is not known")
