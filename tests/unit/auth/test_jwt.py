"""Tokens that are good, and every way in which one is not."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.auth import Credential, Identity
from mycelia.auth.jwks import Jwks
from mycelia.auth.jwt import JwtAuthenticator, JwtRules
from mycelia.errors import ConfigError, NoCredential, Unauthorized, Untimely
from tests.unit.auth.keyring import NOW, SECRET, forged, jwk, pem, private, token


def now() -> float:
    return NOW


def hs(rules: JwtRules | None = None) -> JwtAuthenticator:
    return JwtAuthenticator(["HS256"], rules, key=SECRET, clock=now)


async def judge(authenticator: JwtAuthenticator, text: str) -> Identity:
    return await authenticator.authenticate(Credential(text, "authorization"))


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [("rsa", "RS256"), ("rsa", "RS512"), ("rsa", "PS384"), ("p256", "ES256"), ("p384", "ES384"), ("ed", "EdDSA")],
)
async def test_public_keys(name: str, algorithm: str) -> None:
    authenticator = JwtAuthenticator([algorithm], key=pem(name), clock=now)
    identity = await judge(authenticator, token(private(name), algorithm, scope="a b", tenant=3))
    assert (identity.subject, identity.permissions, identity.expires_at) == ("ada", {"a", "b"}, NOW + 60)
    assert identity.claims["tenant"] == 3
    other = private(f"{name}-other")
    with pytest.raises(Unauthorized):
        await judge(authenticator, token(other, algorithm))


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_secrets(algorithm: str) -> None:
    authenticator = JwtAuthenticator([algorithm], key=SECRET, clock=now)
    assert (await judge(authenticator, token(SECRET, algorithm))).subject == "ada"
    with pytest.raises(Unauthorized):
        await judge(authenticator, token(SECRET + "x", algorithm))


@pytest.mark.parametrize(
    ("given", "held"),
    [("read write", {"read", "write"}), (["read", "a b"], {"read", "a b"}), ("", set()), ([], set()), (None, set())],
)
async def test_permissions(given: object, held: set[str]) -> None:
    identity = await judge(hs(JwtRules(permissions_claim="rights")), token(SECRET, "HS256", rights=given))
    assert identity.permissions == held


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW - 5},
        {"exp": NOW},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": 1e300},
        {"exp": float("nan")},
        {"nbf": NOW + 5},
        {"nbf": "now"},
        {"iat": NOW + 5},
        {"sub": None},
        {"sub": ""},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "others"},
        {"aud": None},
        {"scope": 7},
        {"scope": {"a": 1}},
        {"scope": ["a", 7]},
    ],
    ids=str,
)
async def test_claims_that_refuse(claims: dict[str, Any]) -> None:
    rules = JwtRules(issuer="https://id.example", audience="chat")
    good: dict[str, Any] = {"iss": "https://id.example", "aud": ["chat", "mail"]}
    assert (await judge(hs(rules), token(SECRET, "HS256", **good))).subject == "ada"
    with pytest.raises(Unauthorized):
        await judge(hs(rules), token(SECRET, "HS256", **{**good, **claims}))


@pytest.mark.parametrize(
    ("claims", "signed", "untimely"),
    [
        ({"exp": NOW - 5}, True, True),
        ({"nbf": NOW + 5}, True, True),
        ({"iat": NOW + 5}, True, True),
        ({"exp": NOW - 5}, False, False),
        ({"exp": NOW - 5, "aud": "others"}, True, False),
        ({"exp": "tomorrow"}, True, False),
    ],
    ids=str,
)
async def test_only_a_genuine_token_is_untimely(claims: dict[str, Any], signed: bool, untimely: bool) -> None:
    """Whoever shows one guesses nothing; it must not count as a failed login, and nothing else may pass for it."""
    with pytest.raises(Unauthorized) as caught:
        await judge(hs(), token(SECRET if signed else SECRET[::-1], "HS256", **claims))
    assert isinstance(caught.value, Untimely) is untimely


@pytest.mark.parametrize("subject", [7, ["ada"], {"a": 1}, True])
async def test_a_subject_that_is_no_text(subject: object) -> None:
    with pytest.raises(Unauthorized):
        await judge(hs(), forged({"alg": "HS256"}, {"sub": subject, "exp": NOW + 60}, SECRET.encode()))


async def test_a_token_for_somebody_else_is_refused_where_no_audience_is_set() -> None:
    with pytest.raises(Unauthorized):
        await judge(hs(), token(SECRET, "HS256", aud="others"))


async def test_leeway() -> None:
    lenient = hs(JwtRules(leeway=10))
    identity = await judge(lenient, token(SECRET, "HS256", exp=NOW - 9, nbf=NOW + 9, iat=NOW + 9))
    assert identity.expires_at == NOW + 1  # the connection ends when the same token would be refused
    early: list[dict[str, Any]] = [{"exp": NOW - 10}, {"nbf": NOW + 11}]
    for claims in early:
        with pytest.raises(Unauthorized):
            await judge(lenient, token(SECRET, "HS256", **claims))


async def test_a_token_without_an_end_where_that_is_allowed() -> None:
    identity = await judge(hs(JwtRules(require_expiry=False)), token(SECRET, "HS256", exp=None))
    assert identity.expires_at is None


CLAIMS = {"sub": "ada", "exp": NOW + 60}


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ({"alg": "none"}, b""),
        ({"alg": "None"}, b""),
        ({"alg": "nOnE"}, b""),
        ({}, b""),
        ({"alg": None}, b""),
        ({"alg": ["RS256"]}, b""),
        ({"alg": "RS256"}, b""),
        ({"alg": "HS256"}, b"public"),  # the public key as the secret
        ({"alg": "RS256"}, b"public"),
        ({"alg": "RS256", "crit": ["exp"]}, b"public"),
        ({"alg": "RS256", "kid": 7}, b"public"),
        ({"alg": "RS256", "kid": "k" * 300}, b"public"),
        ({"alg": "RS256", "kid": "../../dev/null"}, b""),
        ({"alg": "RS256", "jwk": {"kty": "oct", "k": "AA"}}, b"public"),
        ({"alg": "RS256", "jku": "http://evil.example/keys"}, b"public"),
    ],
    ids=str,
)
async def test_headers_that_refuse(header: dict[str, Any], key: bytes) -> None:
    authenticator = JwtAuthenticator(["RS256"], key=pem("rsa"), clock=now)
    with pytest.raises(Unauthorized):
        await judge(authenticator, forged(header, CLAIMS, pem("rsa") if key else b""))


@pytest.mark.parametrize("header", [{"crit": ["b64"], "b64": True}, {"crit": []}])
async def test_critical_extensions_are_refused(header: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized):
        await judge(hs(), forged({"alg": "HS256", **header}, CLAIMS, SECRET.encode()))


@pytest.mark.parametrize("text", ["", "x", "..", "a.b.c", "a.b", "a.b.c.d", "é.é.é", "[" * 5000, "x" * 9000, "\0"])
async def test_what_is_no_token(text: str) -> None:
    with pytest.raises(Unauthorized):
        await judge(hs(), text)


async def test_a_huge_token_is_refused_before_it_is_read() -> None:
    huge = token(SECRET, "HS256", filler="x" * 9000)
    with pytest.raises(Unauthorized, match="at most"):
        await judge(hs(), huge)


async def test_deep_claims_and_headers() -> None:
    deep = base64.urlsafe_b64encode(b'{"alg":"HS256","x":' + b"[" * 3000).rstrip(b"=").decode()
    with pytest.raises(Unauthorized):
        await judge(hs(), f"{deep}.{deep}.x")


async def test_no_credential() -> None:
    with pytest.raises(NoCredential):
        await hs().authenticate(Credential(cookies={"sid": "1"}))


@given(st.text(max_size=200))
async def test_nothing_but_unauthorized_comes_of_any_text(text: str) -> None:
    with pytest.raises(Unauthorized):
        await judge(hs(), text)


@given(st.data())
async def test_a_changed_token_is_never_good(data: st.DataObject) -> None:
    good = token(SECRET, "HS256")
    at = data.draw(st.integers(0, len(good) - 1))
    sign = data.draw(st.characters(codec="ascii"))
    changed = good[:at] + sign + good[at + 1 :]
    if at == len(good) - 1 or changed == good:
        return  # the last sign of base64 has bits that say nothing
    with pytest.raises(Unauthorized):
        await judge(hs(), changed)


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithms": []},
        {"algorithms": "HS256", "key": SECRET},
        {"algorithms": ["none"], "key": SECRET},
        {"algorithms": ["HS1"], "key": SECRET},
        {"algorithms": ["HS256", "RS256"], "key": SECRET},
        {"algorithms": ["HS256"]},
        {"algorithms": ["HS256"], "key": "short"},
        {"algorithms": ["HS512"], "key": "a secret of thirty-two bytes....."},
        {"algorithms": ["HS256"], "key": pem("rsa")},
        {"algorithms": ["RS256"], "key": SECRET},
        {"algorithms": ["RS256"], "key": pem("p256")},
        {"algorithms": ["RS256"], "key": pem("weak")},
        {"algorithms": ["ES256"], "key": pem("p384")},
        {"algorithms": ["ES256", "ES384"], "key": pem("p256")},
        {"algorithms": ["HS256"], "jwks": Jwks("https://id.example/keys")},
        {"algorithms": ["RS256"], "key": pem("rsa"), "jwks": Jwks("https://id.example/keys")},
    ],
    ids=lambda settings: str(sorted(settings.items()))[:60],
)
def test_configurations_that_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        JwtAuthenticator(**settings)


def test_a_private_key_is_refused() -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    raw = private("rsa").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ConfigError, match="public key"):
        JwtAuthenticator(["RS256"], key=raw)


@pytest.mark.parametrize("leeway", [-1, 601, float("nan")])
def test_leeway_is_bounded(leeway: float) -> None:
    with pytest.raises(ConfigError):
        JwtRules(leeway=leeway)


async def test_kid_picks_among_the_keys_of_the_issuer_only() -> None:
    async def fetch(url: str, timeout: float, max_bytes: int) -> bytes:
        return json.dumps({"keys": [jwk("rsa", "one"), jwk("rsa-2", "two", alg="RS512")]}).encode()

    authenticator = JwtAuthenticator(["RS256", "RS512"], jwks=Jwks("https://id.example/keys", fetch=fetch), clock=now)
    good = token(private("rsa"), "RS256", {"kid": "one"})
    assert (await judge(authenticator, good)).subject == "ada"
    assert (await judge(authenticator, token(private("rsa-2"), "RS512", {"kid": "two"}))).subject == "ada"
    for bad in (
        token(private("rsa-2"), "RS256", {"kid": "two"}),  # a key that names another algorithm
        token(private("rsa-2"), "RS256", {"kid": "one"}),
        token(private("rsa"), "RS256", {"kid": "three"}),
        token(private("rsa"), "RS512"),  # no id, and two keys fit
        token(private("rsa"), "RS256", {"kid": "one' OR 1=1"}),
        jwt.encode({"sub": "ada", "exp": NOW + 60}, SECRET, "HS256", {"kid": "one"}),
    ):
        with pytest.raises(Unauthorized):
            await judge(authenticator, bad)
    await authenticator.close()
