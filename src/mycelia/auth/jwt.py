"""JSON Web Tokens (RFC 7519), verified by PyJWT under the rules of RFC 8725.

This module needs the extra `mycelia[jwt]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Any

from mycelia.auth.authenticator import TOKEN_BYTES, Credential
from mycelia.auth.identity import Identity, is_subject
from mycelia.auth.jwks import Jwks
from mycelia.auth.keys import ASYMMETRIC, SYMMETRIC, VerifyingKey, key_of
from mycelia.errors import ConfigError, Unauthorized, Untimely

import jwt  # isort: skip  # after `keys`, whose ImportError names the extra to install

__all__ = ["JwtAuthenticator", "JwtRules"]

_TIMES = ("exp", "nbf", "iat")
_KID_LIMIT = 256


@dataclass(frozen=True, slots=True)
class JwtRules:
    """The rules for the claims of a token.

    Attributes:
        issuer: The accepted issuers (`iss`); None accepts any issuer.
        audience: The accepted audiences (`aud`); None accepts only tokens without an audience.
        leeway: The accepted clock difference in seconds, 0 to 600.
        permissions_claim: The claim with the permissions: a list of strings, or one string of words as in `scope`.
        subject_claim: The claim with the subject.
        require_expiry: True if a token must have an expiry (`exp`).

    Raises:
        ConfigError: The leeway is out of range.
    """

    issuer: str | Sequence[str] | None = None
    audience: str | Sequence[str] | None = None
    leeway: float = 0.0
    permissions_claim: str = "scope"
    subject_claim: str = "sub"
    require_expiry: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.leeway <= 600:
            raise ConfigError("leeway", f"expected 0 to 600 seconds, got {self.leeway!r}")


class JwtAuthenticator:
    """Verifies tokens with one key, or with the keys of an issuer.

    The header of a token chooses among these keys and cannot bring another one: `jwk`, `jku` and `x5u` are ignored.

    Args:
        algorithms: The accepted algorithms: either HS or public-key algorithms. With both kinds, an attacker could use
            a public key as the secret of HS.
        rules: The rules for claims.
        key: A secret, or a public key in PEM. Give either `key` or `jwks`.
        jwks: The key set of an issuer.
        clock: Returns the time in seconds since the epoch.

    Raises:
        ConfigError: The algorithms, the key or their combination is invalid.
    """

    def __init__(
        self,
        algorithms: Sequence[str],
        rules: JwtRules | None = None,
        *,
        key: str | bytes | None = None,
        jwks: Jwks | None = None,
        clock: Callable[[], float] = time,
    ) -> None:
        self._algorithms = _checked(algorithms)
        if (key is None) is (jwks is None):
            raise ConfigError("key", "expected either key=… or jwks=…")
        if jwks is not None and self._algorithms[0] in SYMMETRIC:
            raise ConfigError("jwks", "expected public-key algorithms: a key set does not contain secrets")
        self._key = None if key is None else key_of(key, self._algorithms)
        self._jwks, self._clock = jwks, clock
        self._rules = rules or JwtRules()
        self._library = jwt.PyJWT({"enforce_minimum_key_length": True})

    async def authenticate(self, credential: Credential) -> Identity:
        """Return the identity that the token proves.

        Args:
            credential: The credential of the client.

        Raises:
            NoCredential: The credential has no token.
            Unauthorized: The token is invalid, or no key of the issuer fits.
            Untimely: The token has expired or is not valid yet.
            Unavailable: The keys of the issuer cannot be read.
        """
        token = credential.required_token()
        if len(token) > TOKEN_BYTES:
            raise Unauthorized(f"expected a token of at most {TOKEN_BYTES} characters, got {len(token)}")
        algorithm, kid = self._header(token)
        key = await self._find(kid, algorithm)
        return self._identity(self._claims(token, key, algorithm))

    async def close(self) -> None:
        """Cancel a fetch of keys that is running."""
        if self._jwks is not None:
            await self._jwks.close()

    def _header(self, token: str) -> tuple[str, str | None]:
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise Unauthorized("expected a signed JWT") from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise Unauthorized(f"expected a token signed with {' or '.join(self._algorithms)}")
        if "crit" in header:
            raise Unauthorized("expected a token without critical extensions (RFC 7515 §4.1.11)")
        if kid is not None and not (isinstance(kid, str) and len(kid) <= _KID_LIMIT):
            raise Unauthorized(f"expected a key id of at most {_KID_LIMIT} characters")
        return algorithm, kid

    async def _find(self, kid: str | None, algorithm: str) -> VerifyingKey:
        if self._jwks is not None:
            return await self._jwks.find(kid, algorithm)
        assert self._key is not None
        return self._key

    def _claims(self, token: str, key: VerifyingKey, algorithm: str) -> Mapping[str, Any]:
        rules = self._rules
        required = [rules.subject_claim, *(["exp"] if rules.require_expiry else [])]
        try:
            claims: dict[str, Any] = self._library.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=rules.audience,
                issuer=rules.issuer,
                # `_identity` checks the times, with the clock of this authenticator.
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": required},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise Unauthorized(f"the token is not valid: {type(error).__name__}") from None
        return claims

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        rules, now = self._rules, self._clock()
        times = {name: _time(name, claims[name]) for name in _TIMES if name in claims}
        if times.get("exp", now + 1) + rules.leeway <= now:
            raise Untimely("the token has expired")
        if max(times.get("nbf", now), times.get("iat", now)) - rules.leeway > now:
            raise Untimely("the token is not valid yet")
        subject = claims[rules.subject_claim]
        if not is_subject(subject):
            raise Unauthorized(f"expected the claim {rules.subject_claim!r} as a string")
        expires_at = times["exp"] + rules.leeway if "exp" in times else None
        return Identity(subject, _permissions(claims, rules.permissions_claim), claims, expires_at)


def _checked(algorithms: Sequence[str]) -> tuple[str, ...]:
    known = (*SYMMETRIC, *ASYMMETRIC)
    if isinstance(algorithms, str) or not algorithms or any(each not in known for each in algorithms):
        raise ConfigError("algorithms", f"expected a list of {', '.join(known)}, got {algorithms!r}")
    if len({each in SYMMETRIC for each in algorithms}) > 1:
        raise ConfigError("algorithms", "expected HS or public-key algorithms, got both: a key is of one kind")
    return tuple(algorithms)


def _time(name: str, value: object) -> float:
    # Written so that a NaN fails. `isfinite` raises OverflowError for an integer of 400 digits.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= 2**53:
        raise Unauthorized(f"expected the claim {name!r} in seconds since the epoch")
    return float(value)


def _permissions(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    given = claims.get(name, ())
    if isinstance(given, str):
        return frozenset(given.split())
    if isinstance(given, (list, tuple)) and all(isinstance(each, str) for each in given):
        return frozenset(given)
    raise Unauthorized(f"expected the claim {name!r} as a string of words or a list of strings")
