from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from mycelia import Forbidden, HandlerError, NoCredential, RequestTimeout, Unauthorized, Unavailable, Untimely
from mycelia.auth import Credential, Identity
from mycelia.auth.login_throttle import LoginThrottle
from mycelia.observability.error_log import ErrorLog, ErrorsConfig
from mycelia.scheduling.rate_limiter import Rate
from mycelia.serving.authentication import ClientAuthentication

TOKEN = Credential("s3cret-token", "authorization")


class Answers:
    """An authenticator that returns or raises one value."""

    def __init__(self, value: Any) -> None:
        self.value, self.closed = value, False

    async def authenticate(self, credential: Credential) -> Any:
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value

    async def close(self) -> None:
        self.closed = True


def authentication(value: Any) -> tuple[ClientAuthentication, LoginThrottle, ErrorLog]:
    throttle, errors = LoginThrottle(Rate(1, 60.0)), ErrorLog(ErrorsConfig(), "server")
    return ClientAuthentication(Answers(value), throttle, errors), throttle, errors


async def test_an_identity_is_returned() -> None:
    clients, throttle, _ = authentication(Identity("ada"))
    found = await clients.identify(TOKEN, "net", client="connection 1", timeout=5.0)
    assert found == Identity("ada") and not throttle.retry_after("net")


@pytest.mark.parametrize(
    ("raised", "expected", "counts"),
    [
        (Unauthorized("s3cret-token is unknown"), Unauthorized, True),
        (Untimely("s3cret-token is old"), Unauthorized, False),
        (Forbidden("s3cret-token is banned"), Forbidden, False),
        (Unavailable("s3cret-token cannot be checked"), Unavailable, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_a_rejection_has_a_fixed_message_and_its_reason_is_logged_without_the_credential(
    raised: Exception, expected: type[Exception], counts: bool, caplog: pytest.LogCaptureFixture
) -> None:
    clients, throttle, errors = authentication(raised)
    with caplog.at_level(logging.INFO, "mycelia.server"), pytest.raises(expected) as caught:
        await clients.identify(TOKEN, "net", client="connection 1")
    assert type(caught.value) is expected and str(caught.value) == "the credential was rejected"
    assert caught.value.__cause__ is None and bool(throttle.retry_after("net")) is counts
    assert "connection 1: the credential was rejected: ***" in caplog.text and "s3cret" not in caplog.text
    assert errors.total == 0


async def test_a_missing_credential_is_the_callers_decision() -> None:
    for value, credential in ((NoCredential("of another kind"), TOKEN), (Identity("ada"), Credential())):
        clients, _, _ = authentication(value)
        with pytest.raises(NoCredential):
            await clients.identify(credential, "net", client="connection 1")


@pytest.mark.parametrize(
    "raised", [ValueError("s3cret-token"), TimeoutError(), asyncio.CancelledError(), "no identity"]
)
async def test_a_failure_of_the_authenticator_is_recorded_under_the_id_that_the_client_gets(raised: Any) -> None:
    clients, _, errors = authentication(raised)
    with pytest.raises(HandlerError) as caught:
        await clients.identify(TOKEN, "net", client="connection 1", connection_id="c-1", path="p://x", timeout=5.0)
    [record] = errors.report()["errors"]
    assert caught.value.details == {"errorId": record["id"]} and "s3cret" not in str(caught.value)
    assert (record["connectionId"], record["path"]) == ("c-1", "p://x")


async def test_the_deadline() -> None:
    class Slow:
        async def authenticate(self, credential: Credential) -> Any:
            await asyncio.Event().wait()

    clients = ClientAuthentication(Slow(), LoginThrottle(None), ErrorLog(ErrorsConfig(), "server"))
    with pytest.raises(RequestTimeout):
        await clients.identify(TOKEN, "net", client="connection 1", timeout=0.01)


async def test_a_cancelled_caller_stays_cancelled() -> None:
    class Slow:
        async def authenticate(self, credential: Credential) -> Any:
            began.set()
            await asyncio.Event().wait()

    began, errors = asyncio.Event(), ErrorLog(ErrorsConfig(), "server")
    clients = ClientAuthentication(Slow(), LoginThrottle(None), errors)
    task = asyncio.create_task(clients.identify(TOKEN, "net", client="connection 1", timeout=5.0))
    await asyncio.wait_for(began.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert errors.total == 0


async def test_it_closes_the_authenticator() -> None:
    answers = Answers(None)
    await ClientAuthentication(answers, LoginThrottle(None), ErrorLog(ErrorsConfig(), "server")).close()
    assert answers.closed
    await ClientAuthentication(None, LoginThrottle(None), ErrorLog(ErrorsConfig(), "server")).close()
