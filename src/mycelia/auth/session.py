"""The cookie of a session that another part of the application began."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mycelia.auth.authenticator import TOKEN_BYTES, Credential
from mycelia.auth.identity import Identity, identity_by
from mycelia.errors import ConfigError, NoCredential, Unauthorized

__all__ = ["SessionAuthenticator"]

Found = Identity | None


class SessionAuthenticator:
    """Gives the value of one cookie to `callback(value)`, which returns an Identity, or None when there is no session.

    The callback may be async. A cookie counts only beside an Origin that is present and allowed, because browsers send
    it for every page that opens a connection; whoever calls fills `Credential.cookies` by that rule.
    """

    def __init__(self, cookie_name: str, callback: Callable[[str], Found | Awaitable[Found]]) -> None:
        if not isinstance(cookie_name, str) or not cookie_name:
            raise ConfigError("authenticator", f"expected the name of a cookie, got {cookie_name!r}")
        if not callable(callback):
            raise ConfigError("authenticator", f"expected SessionAuthenticator(name, function), got {callback!r}")
        self._cookie_name, self._callback = cookie_name, callback

    async def authenticate(self, credential: Credential) -> Identity:
        """Whose session it is."""
        value = credential.cookies.get(self._cookie_name)
        if not value:
            raise NoCredential(f"no cookie {self._cookie_name!r} beside an allowed Origin was given")
        if len(value) > TOKEN_BYTES:
            raise Unauthorized(f"expected a cookie of at most {TOKEN_BYTES} characters, got {len(value)}")
        return await identity_by(self._callback, value, "the session callback", "there is no such session")
