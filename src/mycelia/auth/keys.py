"""Keys that verify signatures, each with the algorithms that it may be used with (RFC 7517, RFC 7518).

The key decides which algorithms fit. The header of a token can only choose among these.
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
    raise ImportError("JWTs need PyJWT with cryptography: pip install 'mycelia[jwt]'") from missing

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
    """A key, its id (or None), and the algorithms that it may verify."""

    key: Any = field(repr=False)
    algorithms: frozenset[str]
    kid: str | None = None


def key_of(given: str | bytes, algorithms: Iterable[str]) -> VerifyingKey:
    """Return the key of a configuration: a secret for HS algorithms, a public key in PEM for all others.

    Raises:
        ConfigError: The key does not fit all algorithms, is too short, or is a private key.
    """
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
            raise ConfigError("key", "expected a public key, got a private one: this server only verifies tokens")
    return VerifyingKey(raw if name in SYMMETRIC else prepared, frozenset(algorithms))


def read_key_set(raw: bytes) -> tuple[VerifyingKey, ...]:
    """Return the signature keys of a JWK set.

    Unusable keys (for encryption, symmetric, unknown or weak) are skipped, as RFC 7517 §5 requires.

    Raises:
        Unavailable: The document is not a JWK set.
    """
    try:
        listed = json.loads(raw)["keys"]
        found = [key for each in listed if isinstance(each, Mapping) and (key := _read(each)) is not None]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unavailable("expected a JWK set: an object with a list of `keys`") from error
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
