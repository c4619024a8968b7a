from __future__ import annotations

import logging

import pytest

from mycelia.auth import Credential, Identity
from mycelia.auth.login_throttle import LoginThrottle, is_guess
from mycelia.errors import NoCredential, Unauthorized, Untimely
from mycelia.observability.counters import Counter
from mycelia.protocol.http.request import Handshake, Headers, HttpReply
from mycelia.realtime.config.limits import LimitsConfig
from mycelia.scheduling.rate_limiter import Rate
from tests.unit.realtime.support import CLIENT_HEADERS, FakeTransport, Stage, staged, until


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_so_many_may_fail_and_then_one_by_one() -> None:
    clock = Clock()
    logins = LoginThrottle(Rate(3, 60.0), clock=clock)
    for _ in range(3):
        assert logins.retry_after("a") == 0.0
        logins.record_failure("a")
    assert logins.retry_after("a") == pytest.approx(20.0) and logins.retry_after("b") == 0.0
    clock.now += 20.0
    assert logins.retry_after("a") == 0.0
    logins.record_failure("a")
    assert logins.retry_after("a") == pytest.approx(20.0)


def test_what_failed_side_by_side_is_waited_for_but_not_for_ever() -> None:
    clock = Clock()
    logins = LoginThrottle(Rate(3, 60.0), clock=clock)
    for _ in range(5):
        logins.record_failure("a")
    assert logins.retry_after("a") == pytest.approx(60.0)
    for _ in range(1000):
        logins.record_failure("a")
    assert logins.retry_after("a") == pytest.approx(600.0)
    clock.now += 600.0
    assert logins.retry_after("a") == 0.0


@pytest.mark.parametrize(
    ("fault", "guess"), [(NoCredential("none"), False), (Untimely("over"), False), (Unauthorized("wrong"), True)]
)
def test_which_refusals_are_guesses(fault: Exception, guess: bool) -> None:
    assert is_guess(fault) is guess


def test_who_has_no_address_is_not_counted_and_without_a_rate_nobody_is() -> None:
    logins, off = LoginThrottle(Rate(1, 60.0)), LoginThrottle(None)
    logins.record_failure("")
    off.record_failure("a")
    assert (logins.retry_after(""), off.retry_after("a")) == (0.0, 0.0)


def test_it_is_on_unless_somebody_says_otherwise() -> None:
    assert LimitsConfig().failed_logins == Rate(20, 60.0)


# -- at the gate -------------------------------------------------------------------------------------------


class Nobody:
    async def authenticate(self, credential: Credential) -> Identity:
        raise Unauthorized("no such user")


BEARER = ("Authorization", "Bearer x")
COOKIES = (("Cookie", "sid=x"), ("Origin", "http://h"))


def status(stage: Stage, *headers: tuple[str, str]) -> int:
    request = Handshake("GET", "/ws", Headers([*CLIENT_HEADERS, *headers]), ("192.0.2.1", 5))
    answer = stage.core.admission.admit(stage.config.websocket[0], True, request)
    if isinstance(answer, HttpReply):
        return answer.status
    peer: object = answer.peer
    peer.opened(FakeTransport())  # type: ignore[attr-defined]  # a connection
    return 101


@pytest.mark.parametrize("known", [True, False])
async def test_only_a_handshake_with_a_credential_is_turned_away(known: bool) -> None:
    """Where an authenticator may take a cookie for one, cookies are one; `connect` does not even see them."""
    limits = {"failed_logins": {"max_messages": 1, "window": 3600.0}}
    authentication = {"authenticator": Nobody(), "deadline": 0} if known else {}
    async with staged(limits=limits, authentication=authentication) as stage:
        stage.core.authentication.throttle.record_failure("192.0.2.1")
        assert (status(stage), status(stage, BEARER)) == (101, 429)
        assert status(stage, *COOKIES) == (429 if known else 101)
        assert status(stage, COOKIES[0], ("Origin", "http://evil.example")) in (101, 403)
        assert stage.core.counters[Counter.FAILED_LOGINS] == 1 + known


async def test_whoever_runs_it_is_told_of_a_proxy_that_may_be_meant(caplog: pytest.LogCaptureFixture) -> None:
    async with staged(limits={"failed_logins": {"max_messages": 1, "window": 3600.0}}) as stage:
        stage.core.authentication.throttle.record_failure("192.0.2.1")
        with caplog.at_level(logging.WARNING, "mycelia.websocket"):
            assert [status(stage, BEARER) for _ in range(3)] == [429] * 3
        [warning] = [each.getMessage() for each in caplog.records]
        assert warning.startswith("192.0.2.1 had more failed logins") and "limits.trusted_proxies" in warning


async def test_who_was_let_in_before_is_not_asked_about_either() -> None:
    """Many handshakes pass the gate before the first of them is found bad; what is judged later is not judged."""
    limits = {"failed_logins": {"max_messages": 1, "window": 3600.0}}
    async with staged(limits=limits, authentication={"authenticator": Nobody()}) as stage:
        opened = [stage.open(BEARER) for _ in range(3)]
        await until(lambda: all(transport.closings for _, transport in opened))
        assert [transport.closings[0][0] for _, transport in opened] == [4401, 4429, 4429]
        assert stage.core.counters[Counter.FAILED_LOGINS] == 2
        assert stage.core.counters[Counter.AUTHENTICATION] == 1
