"""Identities, credentials, and the authenticators that ask the application."""

from __future__ import annotations

from typing import Any

import pytest

from mycelia.auth import CanClose, Credential, FirstOf, Identity, SessionAuthenticator, TokenAuthenticator
from mycelia.errors import ConfigError, NoCredential, Unauthorized

ADA = Identity("ada", ["read"])


@pytest.mark.parametrize(
    "given",
    [
        {"subject": ""},
        {"subject": 7},
        {"subject": "ada", "permissions": "read"},
        {"subject": "ada", "permissions": {"read": True}},
        {"subject": "ada", "permissions": [7]},
        {"subject": "ada", "permissions": 7},
        {"subject": "ada", "expires_at": float("inf")},
        {"subject": "ada", "expires_at": True},
        {"subject": "ada", "expires_at": "soon"},
    ],
    ids=str,
)
def test_what_is_no_identity(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Identity(**given)


def test_an_identity_is_a_principal_that_nobody_changes() -> None:
    claims = {"tenant": 1}
    identity = Identity("ada", ["read", "read"], claims)
    claims["tenant"] = 2
    assert (identity.id, identity.permissions, identity.claims["tenant"]) == ("ada", {"read"}, 1)
    assert "tenant" not in repr(identity)


def test_credentials_are_not_shown() -> None:
    credential = Credential("s3cret", "query", {"sid": "c00kie"})
    assert "s3cret" not in repr(credential) and "c00kie" not in repr(credential)
    assert Credential().empty and not credential.empty and not Credential(cookies={"a": "b"}).empty


async def test_tokens_by_callback() -> None:
    async def later(token: str) -> Identity | None:
        return ADA if token == "good" else None

    for callback in (later, lambda token: ADA if token == "good" else None):
        authenticator = TokenAuthenticator(callback)
        assert await authenticator.authenticate(Credential("good")) is ADA
        with pytest.raises(Unauthorized):
            await authenticator.authenticate(Credential("bad"))
        with pytest.raises(NoCredential):
            await authenticator.authenticate(Credential(cookies={"sid": "good"}))


@pytest.mark.parametrize("answer", [True, "ada", {"subject": "ada"}, 0, False])
async def test_a_callback_that_answers_something_else_lets_nobody_in(answer: Any) -> None:
    for authenticator in (TokenAuthenticator(lambda _: answer), SessionAuthenticator("sid", lambda _: answer)):
        with pytest.raises(TypeError):
            await authenticator.authenticate(Credential("t", None, {"sid": "t"}))


async def test_sessions_by_callback() -> None:
    async def later(value: str) -> Identity | None:
        return ADA if value == "good" else None

    authenticator = SessionAuthenticator("sid", later)
    assert await authenticator.authenticate(Credential(cookies={"sid": "good"})) is ADA
    for cookies in ({"sid": "bad"}, {"sid": "x" * 9000}):
        with pytest.raises(Unauthorized) as caught:
            await authenticator.authenticate(Credential(cookies=cookies))
        assert not isinstance(caught.value, NoCredential)
    for credential in (Credential("good"), Credential(cookies={"sid": ""}), Credential(cookies={"Sid": "good"})):
        with pytest.raises(NoCredential):
            await authenticator.authenticate(credential)


async def test_first_of() -> None:
    tokens = TokenAuthenticator(lambda token: ADA if token == "good" else None)
    sessions = SessionAuthenticator("sid", lambda value: Identity("eve"))
    both = FirstOf(tokens, sessions)
    assert (await both.authenticate(Credential("good", None, {"sid": "x"}))).subject == "ada"
    assert (await both.authenticate(Credential(cookies={"sid": "x"}))).subject == "eve"
    with pytest.raises(Unauthorized):
        await both.authenticate(Credential("bad", None, {"sid": "x"}))  # a bad one is not looked past
    with pytest.raises(NoCredential):
        await both.authenticate(Credential(cookies={"other": "x"}))
    assert isinstance(both, CanClose) and not isinstance(tokens, CanClose)
    await both.close()


def test_configurations_that_are_refused() -> None:
    for make in (
        lambda: TokenAuthenticator(None),  # type: ignore[arg-type]  # as an untyped program may
        lambda: SessionAuthenticator("", lambda _: ADA),
        lambda: SessionAuthenticator("sid", None),  # type: ignore[arg-type]
        FirstOf,
    ):
        with pytest.raises(ConfigError):
            make()
