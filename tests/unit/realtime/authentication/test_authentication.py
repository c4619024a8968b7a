"""The configuration of authentication; when credentials expire; what a log must not hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from time import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mycelia.auth import Identity, TokenAuthenticator
from mycelia.errors import ConfigError
from mycelia.realtime.authentication.credential_expiry import CredentialExpiry
from mycelia.realtime.config.config import load_config
from mycelia.realtime.config.sections import AuthenticationConfig
from tests.support.names import shown

TOKENS = TokenAuthenticator(lambda token: Identity(token))


class Fake:
    """A clock, its timers, and what an CredentialExpiry said."""

    def __init__(self, warning: float = 10.0, grace: float = 5.0) -> None:
        self.now = 1000.0
        self.timers: list[FakeTimer] = []
        self.said: list[tuple[str, str, float]] = []
        self.expiry: CredentialExpiry[str] = CredentialExpiry(
            (warning, grace),
            lambda holder, left: self.said.append(("warn", holder, left)),
            lambda holder: self.said.append(("end", holder, self.now)),
            clock=lambda: self.now,
            later=self.later,
        )

    def later(self, delay: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(self.now + delay, callback)
        self.timers.append(timer)
        return timer

    @property
    def armed(self) -> list[FakeTimer]:
        return [each for each in self.timers if each.armed]

    def until(self, when: float) -> None:
        """Lets time pass, with every timer at its moment."""
        while due := [each for each in self.armed if each.at <= when]:
            first = min(due, key=lambda each: each.at)
            self.now, first.armed = max(self.now, first.at), False
            first.callback()
        self.now = when


class FakeTimer:
    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at, self.callback, self.armed = at, callback, True

    def cancel(self) -> None:
        self.armed = False


def test_a_warning_then_grace_then_the_end() -> None:
    fake = Fake()
    fake.expiry.watch("ada", 1100.0)
    fake.until(1089.9)
    assert fake.said == []
    fake.until(1104.9)
    assert fake.said == [("warn", "ada", 10.0)]
    fake.until(2000.0)
    assert fake.said == [("warn", "ada", 10.0), ("end", "ada", 1105.0)]
    assert fake.armed == [] and len(fake.expiry) == 0


def test_one_timer_each_and_none_after() -> None:
    fake = Fake()
    for holder in ("ada", "bob", "eve"):
        fake.expiry.watch(holder, 1100.0)
    fake.expiry.watch("eve", None)
    assert len(fake.armed) == len(fake.expiry) == 2
    fake.expiry.forget("ada")
    fake.expiry.forget("nobody")
    fake.until(3000.0)
    assert {holder for _, holder, _ in fake.said} == {"bob"}


def test_a_renewal_in_the_warning_and_one_in_the_grace() -> None:
    fake = Fake()
    fake.expiry.watch("ada", 1100.0)
    fake.until(1095.0)
    fake.expiry.watch("ada", 1200.0)
    fake.until(1150.0)
    assert [what for what, _, _ in fake.said] == ["warn"]
    fake.until(1203.0)
    fake.expiry.watch("ada", 1300.0)
    fake.until(1310.0)
    assert fake.said[2:] == [("warn", "ada", 10.0), ("end", "ada", 1305.0)]
    assert [what for what, _, _ in fake.said] == ["warn", "warn", "warn", "end"]


def test_what_is_renewed_by_its_warning_is_not_armed_twice() -> None:
    fake = Fake()
    said = fake.said
    fake.expiry = CredentialExpiry(
        (10.0, 5.0),
        lambda holder, left: fake.expiry.watch(holder, fake.now + 100),
        lambda holder: said.append(("end", holder, fake.now)),
        clock=lambda: fake.now,
        later=fake.later,
    )
    fake.expiry.watch("ada", 1050.0)
    fake.until(2000.0)
    assert said == [] and len(fake.armed) == 1


def test_a_credential_that_has_expired_already() -> None:
    fake = Fake()
    fake.expiry.watch("ada", 900.0)
    fake.until(1000.0)
    assert fake.said == [("warn", "ada", 0.0), ("end", "ada", 1000.0)]


async def test_a_timer_keeps_nothing_of_the_message_that_brought_the_credential() -> None:
    message, seen = ContextVar("message", default=""), asyncio.get_running_loop().create_future()
    expiry: CredentialExpiry[str] = CredentialExpiry(
        (0, 0), lambda holder, left: None, lambda holder: seen.set_result(message.get())
    )
    message.set("with a token")
    expiry.watch("ada", time())
    async with asyncio.timeout(8):
        assert await seen == ""


def test_no_warning_where_none_is_wanted() -> None:
    fake = Fake(warning=0.0, grace=0.0)
    fake.expiry.watch("ada", 1010.0)
    fake.until(1010.0)
    assert fake.said == [("end", "ada", 1010.0)]


def test_a_clock_that_is_put_back_postpones() -> None:
    fake = Fake(warning=0.0, grace=0.0)
    fake.expiry.watch("ada", 1010.0)
    [timer] = fake.armed
    fake.now, timer.armed = 1005.0, False
    timer.callback()  # the timer is done and the clock says that it is not time yet
    assert fake.said == [] and fake.armed[0].at == 1010.0


@given(st.floats(1000, 3e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_never_early_and_never_twice(expires_at: float, warning: float, grace: float) -> None:
    fake = Fake(warning, grace)
    fake.expiry.watch("ada", expires_at)
    assert all(each.at - fake.now <= 86400 + 1e-3 for each in fake.armed)
    while fake.armed:
        fake.timers = fake.armed
        fake.until(min(each.at for each in fake.armed))
    assert [what for what, _, _ in fake.said] == (["warn"] if warning else []) + ["end"]
    assert fake.now >= expires_at + grace - 1e-3
    assert fake.armed == [] and len(fake.expiry) == 0


# -- configuration -----------------------------------------------------------------------------------------


def test_the_mode_follows_the_authenticator() -> None:
    assert AuthenticationConfig().mode == "off"
    assert AuthenticationConfig(TOKENS).mode == "required"
    assert AuthenticationConfig(TOKENS, "optional").mode == "optional"
    section = {"authenticator": TOKENS, "deadline": 5, "grace": 0}
    loaded = load_config({"authentication": section}).authentication
    assert (loaded.authenticator, loaded.mode, loaded.deadline, loaded.grace) == (TOKENS, "required", 5.0, 0.0)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"mode": "required"}, "authenticator"),
        ({"mode": "optional"}, "authenticator"),
        ({"mode": "sometimes", "authenticator": TOKENS}, "mode"),
        ({"authenticator": lambda token: None}, "authenticator"),
        ({"authenticator": "jwt"}, "authenticator"),
        ({"authenticator": TOKENS, "deadline": -1}, "deadline"),
        ({"authenticator": TOKENS, "grace": 1e9}, "grace"),
        ({"authenticator": TOKENS, "warning": "soon"}, "warning"),
        ({"authentikator": TOKENS}, "authentikator"),
    ],
    ids=shown,
)
def test_configurations_that_are_refused(section: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"authentication": section})
    assert caught.value.key == f"authentication.{key}"


@pytest.mark.parametrize(
    ("deadline", "whole", "mode", "good"),
    [
        (5.0, 5.0, "required", True),
        (5.001, 5.0, "required", False),
        (10.0, 30.0, "required", True),
        (0.0, 0.001, "required", True),
        (60.0, 30.0, "optional", True),  # there it is what a renewal may take, and nothing cuts that short
        (60.0, 30.0, "off", True),
    ],
)
def test_a_deadline_that_would_be_cut_short_is_refused(deadline: float, whole: float, mode: str, good: bool) -> None:
    given = {"authentication": {"authenticator": TOKENS, "mode": mode, "deadline": deadline}}
    given |= {"connection": {"connection_timeout": whole}}
    if good:
        assert load_config(given).authentication.deadline == deadline
        return
    with pytest.raises(ConfigError, match=r"at most connection\.connection_timeout \(5 s\), got 5\.001 s") as caught:
        load_config(given)
    assert caught.value.key == "authentication.deadline"
    assert "lower this to 5 s or raise connection.connection_timeout to 5.001 s" in caught.value.problem


def test_the_deadline_that_nobody_gave_is_judged_as_well() -> None:
    with pytest.raises(ConfigError, match="connection_timeout"):
        load_config({"authentication": {"authenticator": TOKENS}, "connection": {"connectionTimeout": 5000}})


def test_a_policy_is_a_function() -> None:
    with pytest.raises(ConfigError):
        load_config({"routing": {"policy": True}})
