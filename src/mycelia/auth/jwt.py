"""JSON Web Tokens (RFC 7519), checked by PyJWT under the rules of RFC 8725.

Needs the extra `mycelia[jwt]`.
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

import jwt  # isort: skip  # after `keys`, which says how to install it

__all__ = ["JwtAuthenticator", "JwtRules"]

_TIMES = ("exp", "nbf", "iat")
_KID_LIMIT = 256


@dataclass(frozen=True, slots=True)
class JwtRules:
    """What a token must say beside being signed: by whom, for whom, and when; and where its permissions stand.

    An `issuer` or `audience` of None is not asked for; a token that names an audience is then refused. `leeway` is in
    seconds. Permissions come from `permissions_claim`: a list of texts, or one text of words as in `scope`.
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
    """Checks tokens with one key, or with the keys of an issuer.

    `algorithms` must be given and is either HS… or public-key algorithms, never both: else somebody could use a public
    key, which everybody has, as the secret of HS. The key is the configuration's or that of `jwks`; the token's header
    picks among those and can bring none (`jwk`, `jku`, `x5u` are not read).
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
            raise ConfigError("jwks", "expected public-key algorithms: secrets are not published")
        self._key = None if key is None else key_of(key, self._algorithms)
        self._jwks, self._clock = jwks, clock
        self._rules = rules or JwtRules()
        self._library = jwt.PyJWT({"enforce_minimum_key_length": True})

    async def authenticate(self, credential: Credential) -> Identity:
        """Who the token was made for. Raises as `Authenticator.authenticate`."""
        token = credential.required_token()
        if len(token) > TOKEN_BYTES:
            raise Unauthorized(f"expected a token of at most {TOKEN_BYTES} characters, got {len(token)}")
        algorithm, kid = self._header(token)
        key = await self._find(kid, algorithm)
        return self._identity(self._claims(token, key, algorithm))

    async def close(self) -> None:
        """Ends what it still fetches."""
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
                # Times are judged by our clock, in `_identity`.
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": required},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as fault:
            raise Unauthorized(f"the token is not good: {type(fault).__name__}") from None
        return claims

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        rules, now = self._rules, self._clock()
        times = {name: _time(name, claims[name]) for name in _TIMES if name in claims}
        if times.get("exp", now + 1) + rules.leeway <= now:
            raise Untimely("the token has expired")
        if max(times.get("nbf", now), times.get("iat", now)) - rules.leeway > now:
            raise Untimely("the token is not good yet")
        subject = claims[rules.subject_claim]
        if not is_subject(subject):
            raise Unauthorized(f"expected the claim {rules.subject_claim!r} as a text")
        expires_at = times["exp"] + rules.leeway if "exp" in times else None
        return Identity(subject, _permissions(claims, rules.permissions_claim), claims, expires_at)


def _checked(algorithms: Sequence[str]) -> tuple[str, ...]:
    known = (*SYMMETRIC, *ASYMMETRIC)
    if isinstance(algorithms, str) or not algorithms or any(each not in known for each in algorithms):
        raise ConfigError("algorithms", f"expected a list of {', '.join(known)}, got {algorithms!r}")
    if len({each in SYMMETRIC for each in algorithms}) > 1:
        raise ConfigError("algorithms", "expected HS… or public-key algorithms, got both: one key cannot serve both")
    return tuple(algorithms)


def _time(name: str, value: object) -> float:
    # A NaN is not at most anything; `isfinite` cannot look at an integer of 400 digits.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= 2**53:
        raise Unauthorized(f"expected the claim {name!r} in seconds since the epoch")
    return float(value)


def _permissions(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    given = claims.get(name, ())
    if isinstance(given, str):
        return frozenset(given.split())
    if isinstance(given, (list, tuple)) and all(isinstance(each, str) for each in given):
        return frozenset(given)
    raise Unauthorized(f"expected the claim {name!r} as a text of words or a list of texts")
