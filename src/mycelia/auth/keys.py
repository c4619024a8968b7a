"""Keys that check signatures, each with the algorithms that it may be used with (RFC 7517, RFC 7518).

Which key fits which algorithm is decided here, by the key; what a token's header says can only pick among what fits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

try:
    import jwt
    from cryptography.hazmat.primitives.asymmetric import rsa
except ImportError as missing:
    raise ImportError("checking JWTs needs PyJWT with cryptography: pip install 'mycelia[jwt]'") from missing

from mycelia.errors import ConfigError, Unavailable

__all__ = ["ASYMMETRIC", "SYMMETRIC", "VerifyingKey", "key_of", "read_key_set"]

SYMMETRIC = ("HS256", "HS384", "HS512")
ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")

_RSA = frozenset(ASYMMETRIC[:6])
_RSA_BITS = 2048
_FITS = {
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
    ("OKP", "Ed448"): frozenset({"EdDSA"}),
}


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A key, its id where it has one, and the algorithms that may be checked with it."""

    key: Any = field(repr=False)
    algorithms: frozenset[str]
    kid: str | None = None


def key_of(given: str | bytes, algorithms: Iterable[str]) -> VerifyingKey:
    """The secret (HS) or public key in PEM (everything else) of a configuration. Raises ConfigError."""
    raw = given.encode() if isinstance(given, str) else given
    library, prepared = jwt.PyJWS(), None
    for name in algorithms:
        algorithm = library.get_algorithm_by_name(name)
        try:
            prepared = algorithm.prepare_key(raw)
            weak = algorithm.check_key_length(prepared)
        except (jwt.InvalidKeyError, TypeError, ValueError):
            wanted = "a secret, not a key in PEM," if name in SYMMETRIC else "a public key in PEM"
            raise ConfigError("key", f"expected {wanted} that fits {name}") from None
        if weak is not None:
            raise ConfigError("key", f"too short for {name}: {weak}")
        if name not in SYMMETRIC and b"PRIVATE" in raw:
            raise ConfigError("key", "expected a public key: who only checks tokens need not be able to make them")
    return VerifyingKey(raw if name in SYMMETRIC else prepared, frozenset(algorithms))


def read_key_set(raw: bytes) -> tuple[VerifyingKey, ...]:
    """The signature keys of a JWK set (RFC 7517 §5). Raises Unavailable for what is none.

    Keys that cannot be used (encryption, symmetric, unknown or weak ones) are passed over, as §5 asks.
    """
    try:
        listed = json.loads(raw)["keys"]
        found = [key for each in listed if isinstance(each, Mapping) and (key := _read(each)) is not None]
    except (ValueError, KeyError, TypeError, RecursionError) as fault:
        raise Unavailable("expected a JWK set: an object with a list of `keys`") from fault
    return tuple(found)


def _read(given: Mapping[str, Any]) -> VerifyingKey | None:
    kind, kid = given.get("kty"), given.get("kid")
    fits = _RSA if kind == "RSA" else _FITS.get((str(kind), str(given.get("crv"))), frozenset())
    if "alg" in given:
        fits &= {str(given["alg"])}
    operations = given.get("key_ops", ["verify"])
    if not fits or given.get("use", "sig") != "sig" or "verify" not in operations:
        return None
    if kid is not None and not isinstance(kid, str):
        return None
    try:
        key = jwt.PyJWK(dict(given), algorithm=min(fits)).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if hasattr(key, "private_bytes") or (isinstance(key, rsa.RSAPublicKey) and key.key_size < _RSA_BITS):
        return None
    return VerifyingKey(key, fits, kid)
