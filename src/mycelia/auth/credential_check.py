"""The check of a credential by an authenticator, with a count of rejected credentials per network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import time

from mycelia.auth.authenticator import TOKEN_BYTES, Authenticator, Credential
from mycelia.auth.identity import Identity
from mycelia.auth.login_throttle import LoginThrottle, is_guess
from mycelia.errors import ConfigError, NoCredential, Unauthorized, Untimely

__all__ = ["CredentialChecker", "Judge", "cookie_origins", "settled_mode"]

_MODES = ("required", "optional", "off")


def cookie_origins(allowed: Iterable[str]) -> list[str]:
    """Return the rules of an allow-list whose pages may use cookies.

    `*` allows every page to connect. It does not allow every page to use the cookies that its visitors have.
    """
    return [each for each in allowed if each not in ("*", "null")]


def settled_mode(authenticator: object, mode: str) -> str:
    """Return the mode of a section `authentication`: "auto" becomes "required" with an authenticator, else "off".

    Raises:
        ConfigError: The authenticator or the mode is invalid, or the mode needs an authenticator and there is none.
    """
    key = "authentication.authenticator"
    if authenticator is not None and (
        isinstance(authenticator, type) or not callable(getattr(authenticator, "authenticate", None))
    ):
        got = f"the class {authenticator.__name__}" if isinstance(authenticator, type) else type(authenticator).__name__
        raise ConfigError(key, f"expected an Authenticator, such as TokenAuthenticator(function), got {got}")
    if mode == "auto":
        return "off" if authenticator is None else "required"
    if mode not in _MODES:
        raise ConfigError("authentication.mode", f"expected one of {', '.join(_MODES)}, auto; got {mode!r}")
    if mode != "off" and authenticator is None:
        raise ConfigError(key, f"expected an authenticator, because mode is {mode!r}")
    return mode


class CredentialChecker:
    """Checks credentials with an authenticator and records rejected ones in the login throttle.

    Args:
        authenticator: The authenticator; None if the mode of authentication is "off".
        throttle: The throttle that counts rejected credentials.
        clock: Returns the time in seconds since the epoch.
    """

    def __init__(
        self, authenticator: Authenticator | None, throttle: LoginThrottle, clock: Callable[[], float] = time
    ) -> None:
        self._authenticator, self._throttle, self._clock = authenticator, throttle, clock

    async def check(self, credential: Credential, network: str) -> Identity:
        """Return the identity that a credential proves.

        Args:
            credential: The credential of the client.
            network: The network of the client, under which rejected credentials count.

        Raises:
            NoCredential: The credential is empty.
            Unauthorized: The token is too long.
            Untimely: The identity has expired.
            TypeError: The authenticator did not return an Identity.
            Exception: Any exception that the authenticator raises.
        """
        assert self._authenticator is not None
        if credential.empty:
            raise NoCredential("no credential was given")
        if credential.token is not None and len(credential.token) > TOKEN_BYTES:
            raise Unauthorized(f"expected a token of at most {TOKEN_BYTES} characters, got {len(credential.token)}")
        try:
            identity = await self._authenticator.authenticate(credential)
        except Unauthorized as error:
            if is_guess(error):
                self._throttle.record_failure(network)
            raise
        if not isinstance(identity, Identity):
            raise TypeError(f"expected the authenticator to return an Identity, got {type(identity).__name__}")
        if identity.expires_at is not None and identity.expires_at <= self._clock():
            raise Untimely("the credential has expired")
        return identity

    judge = check  # until realtime uses the new name


Judge = CredentialChecker  # until realtime uses the new name
