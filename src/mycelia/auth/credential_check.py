"""What of a request may be a credential, and what an authenticator says to it; alike for HTTP and WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import time

from mycelia.auth import Authenticator, Credential, Identity
from mycelia.auth.authenticator import TOKEN_BYTES
from mycelia.auth.login_throttle import FailedLogins, is_guess
from mycelia.errors import ConfigError, NoCredential, Unauthorized, Untimely

__all__ = ["Judge", "cookie_origins", "settled_mode"]

_MODES = ("required", "optional", "off")


def cookie_origins(allowed: Iterable[str]) -> list[str]:
    """The rules of an allow-list whose pages may use cookies.

    `*` says that a page may connect, not that it may use whatever cookies its visitors happen to have.
    """
    return [each for each in allowed if each not in ("*", "null")]


def settled_mode(authenticator: object, mode: str) -> str:
    """The mode of a section `authentication`: "auto" becomes "required" with an authenticator and "off" without.

    Raises ConfigError for what is no authenticator, for a mode that is none, and for one that lacks an authenticator.
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
        raise ConfigError(key, f"expected one, since mode is {mode!r}")
    return mode


class Judge:
    """Asks an authenticator, and counts what it refuses by the network that showed it."""

    def __init__(
        self, authenticator: Authenticator | None, failures: FailedLogins, clock: Callable[[], float] = time
    ) -> None:
        self._authenticator, self._failures, self._clock = authenticator, failures, clock

    async def judge(self, credential: Credential, network: str) -> Identity:
        """Who shows this credential.

        Raises NoCredential for an empty one, Untimely for an identity whose time is over, and whatever the
        authenticator raises.
        """
        assert self._authenticator is not None
        if credential.empty:
            raise NoCredential("no credential was given")
        if credential.token is not None and len(credential.token) > TOKEN_BYTES:
            raise Unauthorized(f"expected a token of at most {TOKEN_BYTES} characters, got {len(credential.token)}")
        try:
            identity = await self._authenticator.authenticate(credential)
        except Unauthorized as fault:
            if is_guess(fault):
                self._failures.add(network)
            raise
        if not isinstance(identity, Identity):
            raise TypeError(f"expected an Identity of the authenticator, got {type(identity).__name__}")
        if identity.expires_at is not None and identity.expires_at <= self._clock():
            raise Untimely("the credential has expired")
        return identity
