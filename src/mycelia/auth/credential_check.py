"""The check of a credential by an authenticator, with a count of rejected credentials per network."""

from __future__ import annotations

from collections.abc import Callable
from time import time

from mycelia.auth.authenticator import TOKEN_BYTES, Authenticator, Credential
from mycelia.auth.identity import Identity
from mycelia.auth.login_throttle import LoginThrottle, is_guess
from mycelia.errors import NoCredential, Unauthorized, Untimely

__all__ = ["CredentialChecker"]


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
