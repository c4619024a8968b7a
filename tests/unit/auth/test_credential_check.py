from __future__ import annotations

from typing import Any

import pytest

from mycelia import NoCredential, Unauthorized, Untimely
from mycelia.auth import Credential, Identity
from mycelia.auth.credential_check import CredentialChecker
from mycelia.auth.login_throttle import LoginThrottle
from mycelia.scheduling.rate_limiter import Rate

NOW = 1000.0


def checker(found: Any) -> tuple[CredentialChecker, LoginThrottle]:
    throttle = LoginThrottle(Rate(1, 60.0))

    class Says:
        async def authenticate(self, credential: Credential) -> Any:
            if isinstance(found, Exception):
                raise found
            return found

    return CredentialChecker(Says(), throttle, lambda: NOW), throttle


@pytest.mark.parametrize(
    ("found", "error", "counted"),
    [
        (Identity("ada"), None, False),
        (Identity("ada", expires_at=NOW + 1), None, False),
        (Identity("ada", expires_at=NOW), Untimely, False),
        (Unauthorized("bad"), Unauthorized, True),
        (Untimely("old"), Untimely, False),
        (NoCredential("none"), NoCredential, False),
        ({"subject": "ada"}, TypeError, False),
        (ValueError("broken"), ValueError, False),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, (bool, type)) else None,
)
async def test_what_becomes_of_an_answer(found: Any, error: type[Exception] | None, counted: bool) -> None:
    checks, throttle = checker(found)
    if error is None:
        assert await checks.check(Credential("x"), "net") is found
    else:
        with pytest.raises(error):
            await checks.check(Credential("x"), "net")
    assert bool(throttle.retry_after("net")) is counted


async def test_what_is_not_looked_at() -> None:
    checks, throttle = checker(Identity("ada"))
    with pytest.raises(NoCredential):
        await checks.check(Credential(), "net")
    with pytest.raises(Unauthorized, match="at most 8192"):
        await checks.check(Credential("x" * 8193), "net")
    assert not throttle.retry_after("net")
