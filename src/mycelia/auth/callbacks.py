"""Authenticators that ask a function of the application: for opaque tokens, and for session cookies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable

from mycelia.auth.authenticator import TOKEN_BYTES, Credential
from mycelia.auth.identity import Identity
from mycelia.errors import ConfigError, NoCredential, Unauthorized

__all__ = ["SessionAuthenticator", "TokenAuthenticator"]

Found = Identity | None


class TokenAuthenticator:
    """Checks tokens that only the application can read.

    Look tokens up by their digest. Otherwise the duration of the look-up may reveal how much of a token is right.

    Args:
        callback: `callback(token)` returns the Identity of a token, or None for an invalid token. It may be async.

    Raises:
        ConfigError: The callback cannot be called.
    """

    def __init__(self, callback: Callable[[str], Found | Awaitable[Found]]) -> None:
        if not callable(callback):
            raise ConfigError("authenticator", f"expected TokenAuthenticator(function), got {callback!r}")
        self._callback = callback

    async def authenticate(self, credential: Credential) -> Identity:
        """Return the identity of the token.

        Args:
            credential: The credential of the client.

        Raises:
            NoCredential: The credential has no token.
            Unauthorized: The callback returned None.
            TypeError: The callback returned another value. This rejects the credential, too.
        """
        token = credential.required_token()
        return await _identity_from(self._callback, token, "the token callback", "the token is not known")


class SessionAuthenticator:
    """Checks the cookie of a session that another part of the application created.

    Browsers send cookies for every page that opens a connection. A cookie therefore counts only if the request has an
    allowed Origin. The caller applies this rule when it fills `Credential.cookies`.

    Args:
        cookie_name: The name of the cookie.
        callback: `callback(value)` returns the Identity of a session, or None if there is no such session. It may be
            async.

    Raises:
        ConfigError: The name is empty, or the callback cannot be called.
    """

    def __init__(self, cookie_name: str, callback: Callable[[str], Found | Awaitable[Found]]) -> None:
        if not isinstance(cookie_name, str) or not cookie_name:
            raise ConfigError("authenticator", f"expected the name of a cookie, got {cookie_name!r}")
        if not callable(callback):
            raise ConfigError("authenticator", f"expected SessionAuthenticator(name, function), got {callback!r}")
        self._cookie_name, self._callback = cookie_name, callback

    async def authenticate(self, credential: Credential) -> Identity:
        """Return the identity of the session.

        Args:
            credential: The credential of the client.

        Raises:
            NoCredential: The request has no such cookie, or its Origin is not allowed.
            Unauthorized: The cookie is too long, or the callback returned None.
            TypeError: The callback returned another value. This rejects the credential, too.
        """
        value = credential.cookies.get(self._cookie_name)
        if not value:
            raise NoCredential(f"expected the cookie {self._cookie_name!r} and an allowed Origin")
        if len(value) > TOKEN_BYTES:
            raise Unauthorized(f"expected a cookie of at most {TOKEN_BYTES} characters, got {len(value)}")
        return await _identity_from(self._callback, value, "the session callback", "there is no such session")


async def _identity_from(callback: Callable[[str], object], value: str, what: str, unknown: str) -> Identity:
    """Return the identity that the callback finds for a value. Raise Unauthorized if it returns None."""
    found = callback(value)
    given = await found if isawaitable(found) else found
    if isinstance(given, Identity):
        return given
    if given is None:
        raise Unauthorized(unknown)
    raise TypeError(f"expected {what} to return an Identity or None, got {type(given).__name__}")
